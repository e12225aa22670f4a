"""The registry of heads."""

from __future__ import annotations

from torch import nn

from fastreid_ext.config import CfgNode
from fastreid_ext.registry import Registry

__all__ = ["HEADS", "build_heads"]

# HEADS.get(name)(cfg, feature_dim=width of the backbone) is the head: in training (features, pids) -> dict with
# `cls_outputs (B, num_classes)`, `pred_class_logits (B, num_classes)` and `features (B, D)`, or with `branches`, such
# dicts by name; in evaluation features -> embeddings (B, D).
HEADS = Registry("head")


def build_heads(cfg: CfgNode, feature_dim: int) -> nn.Module:
    """The head `MODEL.HEADS.NAME` on a backbone whose maps have `feature_dim` channels.

    Raises:
        RegistryError: there is none of that name.
    """
    head: nn.Module = HEADS.get(cfg.MODEL.HEADS.NAME)(cfg, feature_dim=feature_dim)
    return head
