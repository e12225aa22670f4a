"""ResNeXt with instance-batch norm and non-local blocks, under FastReID's state names."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import OfficialWeights, choose_variant, ignore_options, refuse_options
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.backbones.released_weights import released_weights
from fastreid_ext.modeling.backbones.residual import (
    BLOCKS_PER_STAGE,
    NO_NON_LOCAL,
    ResidualBlock,
    ResidualNet,
    build_stages,
    inner_channels,
)
from fastreid_ext.modeling.backbones.resnet import IBN_RELEASE, Bottleneck
from fastreid_ext.modeling.backbones.torchvision_weights import torchvision_weights
from fastreid_ext.modeling.layers import build_norm

__all__ = ["ResNeXt"]

GROUPS, BASE_WIDTH = 32, 4
NON_LOCAL_PER_STAGE = {"50x": (0, 2, 3, 0), "101x": (0, 2, 3, 0), "152x": (0, 2, 3, 0)}
IBN_FILE = "resnext101_ibn_a-6ace051d.pth"
GLUON_FILE = (
    "https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1/"
    "gluon_resnext101_32x4d-b253c8c4.pth"
)
_LAST_PLAIN_NORM = re.compile(r"(layer4\.\d+\.bn1)\.(\w+)")


@BACKBONES.register("build_resnext_backbone", source="Xie et al., CVPR 2017", aliases=("ResNeXt",))
class ResNeXt(ResidualNet):
    """Residual network whose 3x3 convolutions have 32 groups (32x4d), optionally with IBN-a and non-local blocks.

    Args:
        depth: "50x", "101x" or "152x".
        last_stride: of the last stage; 1 keeps its map at a sixteenth of the image.
        norm: name of a norm.
        with_ibn: instance-batch norm in the blocks of all stages, as in FastReID; its authors leave out the last one
            (Pan et al., ECCV 2018).
        with_nl: non-local blocks after the last blocks of stages 2 and 3 (Wang et al., CVPR 2018).
        non_local_channels: inner channels of the non-local blocks; None takes half as that paper does, 1 fits weights
            that FastReID trained.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 2048, H/16, W/16), with last stride 2 H/32, W/32.

    Raises:
        ConfigError: unknown depth.
    """

    @configurable
    def __init__(
        self,
        *,
        depth: str = "50x",
        last_stride: int = 1,
        norm: str = "BN",
        with_ibn: bool = False,
        with_nl: bool = False,
        non_local_channels: int | None = None,
    ) -> None:
        non_local = choose_variant("ResNeXt", depth, NON_LOCAL_PER_STAGE)

        def block(_stage: int, inputs: int, planes: int, stride: int) -> ResidualBlock:
            return Bottleneck(inputs, planes, stride, norm, with_ibn, False, GROUPS, BASE_WIDTH)

        super().__init__(
            conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            bn1=build_norm(norm, 64),
            maxpool=nn.MaxPool2d(3, stride=2, padding=1),
            stages=build_stages(BLOCKS_PER_STAGE[depth], 64, last_stride, block),
            feature_dim=2048,
            non_local=non_local if with_nl else NO_NON_LOCAL,
            non_local_channels=non_local_channels,
            norm=norm,
        )
        self.depth, self.with_ibn = depth, with_ibn

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "ResNeXt", ("WITH_AIN",))
        ignore_options(cfg, "ResNeXt", ("WITH_SE",))
        node = cfg.MODEL.BACKBONE
        return {
            "depth": node.DEPTH,
            "last_stride": node.LAST_STRIDE,
            "norm": node.NORM,
            "with_ibn": node.WITH_IBN,
            "with_nl": node.WITH_NL,
            "non_local_channels": inner_channels(cfg),
        }

    def official_weights(self) -> OfficialWeights | None:
        """torchvision's for the 50 layers, GluonCV's for 101, its authors' for 101 with IBN."""
        if self.with_ibn:
            known = self.depth == "101x"
            return OfficialWeights(f"{IBN_FILE} of IBN-Net, {IBN_RELEASE}/{IBN_FILE}") if known else None
        if self.depth == "50x":
            return torchvision_weights("ResNeXt50_32X4D_Weights.IMAGENET1K_V1")
        return released_weights(GLUON_FILE) if self.depth == "101x" else None

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """IBN-Net's file has plain norms in the last stage: here their first halves start the instance norms."""
        if not self.with_ibn:
            return state
        converted: dict[str, Tensor] = {}
        for key, value in state.items():
            plain = _LAST_PLAIN_NORM.fullmatch(key)
            if plain is None:
                converted[key] = value
                continue
            norm, name = plain.groups()
            first, second = value.chunk(2) if value.dim() else (value, value)
            converted[f"{norm}.BN.{name}"] = second
            if name in ("weight", "bias"):
                converted[f"{norm}.IN.{name}"] = first
        return converted
