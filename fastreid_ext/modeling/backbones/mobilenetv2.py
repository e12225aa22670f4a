"""MobileNetV2, under FastReID's state names."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.ops.misc import Conv2dNormActivation

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import (
    Backbone,
    OfficialWeights,
    choose_variant,
    ignore_options,
    refuse_options,
)
from fastreid_ext.modeling.backbones.conversion import Rules, rename
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.backbones.torchvision_weights import torchvision_weights
from fastreid_ext.modeling.layers import build_norm, init_convs

__all__ = ["InvertedResidual", "MobileNetV2"]

EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
COUNTS = (1, 2, 3, 4, 3, 3, 1)
STRIDES = (1, 2, 2, 2, 1, 2, 1)

# Widths of the stem and of the stages.
WIDTHS = {
    "1.0x": (32, 16, 24, 32, 64, 96, 160, 320),
    "0.75x": (24, 16, 24, 24, 48, 72, 120, 240),
    "0.5x": (16, 8, 16, 16, 32, 48, 80, 160),
    "0.35x": (16, 8, 8, 16, 24, 32, 56, 112),
    "0.25x": (8, 8, 8, 8, 16, 24, 40, 80),
    "0.1x": (4, 4, 4, 4, 8, 12, 16, 32),
}

PRETRAINED = "https://github.com/d-li14/mobilenetv2.pytorch/tree/master/pretrained"
FILES = {
    "0.75x": "mobilenetv2_0.75-dace9791.pth",
    "0.5x": "mobilenetv2_0.5-eaa6f9ad.pth",
    "0.35x": "mobilenetv2_0.35-b2e15951.pth",
    "0.25x": "mobilenetv2_0.25-b61d2159.pth",
    "0.1x": "mobilenetv2_0.1-7d1d638a.pth",
}
TORCHVISION_LAST = "features.18.0.weight"


class InvertedResidual(nn.Module):
    """Widens, convolves each channel for itself and narrows; added to its input if that has the same shape."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int, norm: str = "BN") -> None:
        super().__init__()
        inner = inputs * expansion
        layer = partial(Conv2dNormActivation, norm_layer=partial(build_norm, norm), activation_layer=nn.ReLU6)
        self.conv = nn.Sequential(
            *(layer(inputs, inner, kernel_size=1) if expansion > 1 else ()),
            *layer(inner, inner, stride=stride, groups=inner),
            *layer(inner, outputs, kernel_size=1, activation_layer=None),
        )
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.is_residual else out


@BACKBONES.register("build_mobilenetv2_backbone", source="Sandler et al., CVPR 2018", aliases=("MobileNetV2",))
class MobileNetV2(Backbone):
    """Network of inverted residuals with linear bottlenecks, for small devices.

    Its map is a thirty-second of the image whatever MODEL.BACKBONE.LAST_STRIDE says, as in FastReID.

    Args:
        depth: width of the network: "1.0x", "0.75x", "0.5x", "0.35x", "0.25x" or "0.1x".
        norm: name of a norm.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 1280, H/32, W/32).

    Raises:
        ConfigError: unknown depth.
    """

    feature_dim = 1280

    @configurable
    def __init__(self, *, depth: str = "1.0x", norm: str = "BN") -> None:
        super().__init__()
        inputs, *widths = choose_variant("MobileNetV2", depth, WIDTHS)
        self.depth = depth
        layer = partial(Conv2dNormActivation, norm_layer=partial(build_norm, norm), activation_layer=nn.ReLU6)
        features: list[nn.Module] = [layer(3, inputs, stride=2)]
        for width, count, expansion, stride in zip(widths, COUNTS, EXPANSIONS, STRIDES, strict=True):
            for index in range(count):
                first = stride if index == 0 else 1
                features.append(InvertedResidual(inputs, width, expansion=expansion, stride=first, norm=norm))
                inputs = width
        self.features = nn.Sequential(*features)
        self.conv = layer(inputs, self.feature_dim, kernel_size=1)
        init_convs(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "MobileNetV2", ("WITH_AIN",))
        ignore_options(cfg, "MobileNetV2", ("WITH_IBN", "WITH_SE", "WITH_NL"))
        return {"depth": cfg.MODEL.BACKBONE.DEPTH, "norm": cfg.MODEL.BACKBONE.NORM}

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.conv(self.features(images))
        return out

    def official_weights(self) -> OfficialWeights:
        """torchvision's, or for narrow networks those of Duo Li, who trained them all."""
        if self.depth == "1.0x":
            return torchvision_weights("MobileNet_V2_Weights.IMAGENET1K_V1")
        return OfficialWeights(f"{FILES[self.depth]} of mobilenetv2.pytorch ({PRETRAINED})")

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's names."""
        return rename(state, FROM_TORCHVISION) if TORCHVISION_LAST in state else state


def _layer_name(match: re.Match[str]) -> str:
    """Name of a layer of a block: three a convolution, where torchvision counts convolutions and, in the last of them,
    layers."""
    block, outer, inner = match.groups()
    before = 1 if block == "1" else 2
    index = int(outer) + 2 * before if inner is None else 3 * int(outer) + int(inner)
    return f"features.{block}.conv.{index}."


FROM_TORCHVISION: Rules = {
    r"^features\.18\.": "conv.",
    r"^features\.(\d+)\.conv\.(\d)\.(?:(\d)\.)?": _layer_name,
}
