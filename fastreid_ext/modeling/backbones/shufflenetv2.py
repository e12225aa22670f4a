"""ShuffleNetV2, under the state names of its authors and of FastReID."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
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
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.layers import build_norm, init_convs

__all__ = ["ShuffleNetV2", "ShuffleUnit"]

STEM_WIDTH = 24
COUNTS = (4, 8, 4)

# Widths of the stages and of the last convolution.
WIDTHS = {
    "0.5x": (48, 96, 192, 1024),
    "1.0x": (116, 232, 464, 1024),
    "1.5x": (176, 352, 704, 1024),
    "2.0x": (244, 488, 976, 2048),
}
AUTHORS = "https://github.com/megvii-model/ShuffleNet-Series"


class ShuffleUnit(nn.Module):
    """Convolves every other channel and passes the rest on, or halves the map of all channels on two paths.

    Shape:
        x: (B, inputs, h, w).
        returns: (B, outputs, h, w), if `halves` (B, outputs, h/2, w/2).
    """

    def __init__(self, inputs: int, outputs: int, *, halves: bool, norm: str = "BN") -> None:
        super().__init__()
        layer = partial(Conv2dNormActivation, norm_layer=partial(build_norm, norm))
        stride = 2 if halves else 1
        taken = inputs if halves else inputs // 2
        inner = outputs // 2
        self.branch_main = nn.Sequential(
            *layer(taken, inner, kernel_size=1),
            *layer(inner, inner, stride=stride, groups=inner, activation_layer=None),
            *layer(inner, outputs - taken, kernel_size=1),
        )
        self.branch_proj: nn.Module | None = None
        if halves:
            self.branch_proj = nn.Sequential(
                *layer(taken, taken, stride=stride, groups=taken, activation_layer=None),
                *layer(taken, taken, kernel_size=1),
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.branch_proj is not None:
            return torch.cat([self.branch_proj(x), self.branch_main(x)], dim=1)
        # Alternate channels come from the two paths of the unit before: to part them so is the shuffle.
        return torch.cat([x[:, ::2], self.branch_main(x[:, 1::2])], dim=1)


@BACKBONES.register("build_shufflenetv2_backbone", source="Ma et al., ECCV 2018", aliases=("ShuffleNetV2",))
class ShuffleNetV2(Backbone):
    """Network of split and shuffled channels, for small devices.

    Its map is a thirty-second of the image whatever MODEL.BACKBONE.LAST_STRIDE says, as in FastReID.

    Args:
        depth: width of the network: "0.5x", "1.0x", "1.5x" or "2.0x".
        norm: name of a norm.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 1024, or for 2.0x 2048, H/32, W/32).

    Raises:
        ConfigError: unknown depth.
    """

    @configurable
    def __init__(self, *, depth: str = "1.0x", norm: str = "BN") -> None:
        super().__init__()
        *widths, last = choose_variant("ShuffleNetV2", depth, WIDTHS)
        self.depth = depth
        self.feature_dim = last
        layer = partial(Conv2dNormActivation, norm_layer=partial(build_norm, norm))
        self.first_conv = layer(3, STEM_WIDTH, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        units: list[nn.Module] = []
        inputs = STEM_WIDTH
        for width, count in zip(widths, COUNTS, strict=True):
            units.append(ShuffleUnit(inputs, width, halves=True, norm=norm))
            units.extend(ShuffleUnit(width, width, halves=False, norm=norm) for _ in range(count - 1))
            inputs = width
        self.features = nn.Sequential(*units)
        self.conv_last = layer(inputs, last, kernel_size=1)
        init_convs(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "ShuffleNetV2", ("WITH_AIN",))
        ignore_options(cfg, "ShuffleNetV2", ("WITH_IBN", "WITH_SE", "WITH_NL"))
        return {"depth": cfg.MODEL.BACKBONE.DEPTH, "norm": cfg.MODEL.BACKBONE.NORM}

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.conv_last(self.features(self.maxpool(self.first_conv(images))))
        return out

    def official_weights(self) -> OfficialWeights:
        """The authors'; torchvision's network splits the channels of its first units in another way."""
        return OfficialWeights(f"the trained model ShuffleNetV2 {self.depth} of its authors ({AUTHORS})")
