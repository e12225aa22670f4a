"""The registry of backbones and the call that makes one from a config."""

from __future__ import annotations

from torch import nn

from fastreid_ext.config import CfgNode
from fastreid_ext.modeling.backbones.pretrained import load_pretrained
from fastreid_ext.registry import Registry
from fastreid_ext.utils.logger import get_logger

__all__ = ["BACKBONES", "build_backbone"]

logger = get_logger(__name__)

BACKBONES = Registry("backbone")
"""Classes or functions called with the config.

The module takes images (B, 3, H, W), float and normalised, and returns a map (B, C, h, w), or a dict of named maps
whose "last" is what heads of one map take. Its attribute `feature_dim` is C.
"""

UNSET_FEAT_DIM = 2048


def build_backbone(cfg: CfgNode) -> nn.Module:
    """Makes the backbone that MODEL.BACKBONE names, with ImageNet weights if MODEL.BACKBONE.PRETRAIN is on.

    Raises:
        RegistryError: no backbone of that name.
        ConfigError: a DEPTH or a switch that the backbone does not have.
        PretrainedError: the weights are not there or do not fit.
    """
    node = cfg.MODEL.BACKBONE
    backbone: nn.Module = BACKBONES.get(node.NAME)(cfg)
    if node.FEAT_DIM not in (UNSET_FEAT_DIM, backbone.feature_dim):
        logger.warning(
            "MODEL.BACKBONE.FEAT_DIM is %d, but %s gives %d channels: the key is not needed",
            node.FEAT_DIM,
            node.NAME,
            backbone.feature_dim,
        )
    if node.PRETRAIN:
        load_pretrained(backbone, node.PRETRAIN_PATH)
    elif node.PRETRAIN_PATH:
        logger.warning("MODEL.BACKBONE.PRETRAIN_PATH is set, but PRETRAIN is off: the backbone starts at random")
    return backbone
