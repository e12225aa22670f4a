"""EfficientNet, under the state names of pycls and of FastReID."""

from __future__ import annotations

import re
from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import (
    Backbone,
    OfficialWeights,
    choose_variant,
    ignore_options,
    refuse_options,
)
from fastreid_ext.modeling.backbones.conversion import Rules, absorb_epsilon, rename
from fastreid_ext.modeling.backbones.pycls import PyclsSE, conv_layers, pycls_stem, pycls_to_rgb
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.backbones.torchvision_weights import torchvision_weights
from fastreid_ext.modeling.layers import init_convs

__all__ = ["EfficientNet", "MBConv"]

REDUCTION = 4
EXPANSIONS = (1, 6, 6, 6, 6, 6, 6)
KERNELS = (3, 3, 5, 3, 5, 5, 3)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
LAST_STRIDED = 5

# Blocks of the stages; widths of the stem, of the stages and of the last convolution.
VARIANTS = {
    "b0": ((1, 2, 2, 3, 3, 4, 1), (32, 16, 24, 40, 80, 112, 192, 320, 1280)),
    "b1": ((2, 3, 3, 4, 4, 5, 2), (32, 16, 24, 40, 80, 112, 192, 320, 1280)),
    "b2": ((2, 3, 3, 4, 4, 5, 2), (32, 16, 24, 48, 88, 120, 208, 352, 1408)),
    "b3": ((2, 3, 3, 5, 5, 6, 2), (40, 24, 32, 48, 96, 136, 232, 384, 1536)),
    "b4": ((2, 4, 4, 6, 6, 8, 2), (48, 24, 32, 56, 112, 160, 272, 448, 1792)),
    "b5": ((3, 5, 5, 7, 7, 9, 3), (48, 24, 40, 64, 128, 176, 304, 512, 2048)),
}

TORCHVISION_CLASSIFIER = "classifier.1.weight"
TORCHVISION_EPSILON = {"b5": 1e-3}


class MBConv(nn.Sequential):
    """Mobile inverted bottleneck with squeeze-and-excitation, added to its input if that has the same shape."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, size: int, stride: int, norm: str = "BN") -> None:
        inner = inputs * expansion
        super().__init__(
            OrderedDict(
                **(conv_layers("exp", inputs, inner, norm, nn.SiLU) if expansion > 1 else {}),
                **conv_layers("dwise", inner, inner, norm, nn.SiLU, size=size, stride=stride, groups=inner),
                se=PyclsSE(inner, inputs // REDUCTION, nn.SiLU),
                **conv_layers("lin_proj", inner, outputs, norm, None),
            )
        )
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self:
            out = layer(out)
        return x + out if self.is_residual else out


@BACKBONES.register("build_effnet_backbone", source="Tan & Le, ICML 2019", aliases=("EfficientNet",))
class EfficientNet(Backbone):
    """Network scaled in depth and width together, with its last convolution.

    Args:
        depth: "b0" to "b5".
        last_stride: of the sixth stage, the last that halves the map; 1 keeps it at a sixteenth of the image.
        norm: name of a norm.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 1280, 1280, 1408, 1536, 1792 or 2048, H/16, W/16), with last stride 2 H/32, W/32.

    Raises:
        ConfigError: unknown depth.
    """

    @configurable
    def __init__(self, *, depth: str = "b0", last_stride: int = 1, norm: str = "BN") -> None:
        super().__init__()
        counts, (*widths, head) = choose_variant("EfficientNet", depth, VARIANTS)
        self.depth = depth
        self.feature_dim = head
        self.stem = pycls_stem(widths[0], norm, nn.SiLU)
        for stage, count in enumerate(counts):
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            stride = last_stride if stage == LAST_STRIDED else STRIDES[stage]
            for number in range(count):
                blocks[f"b{number + 1}"] = MBConv(
                    widths[stage + 1] if number else widths[stage],
                    widths[stage + 1],
                    expansion=EXPANSIONS[stage],
                    size=KERNELS[stage],
                    stride=1 if number else stride,
                    norm=norm,
                )
            self.add_module(f"s{stage + 1}", nn.Sequential(blocks))
        self.head = nn.Sequential(OrderedDict(conv_layers("conv", widths[-1], head, norm, nn.SiLU)))
        init_convs(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "EfficientNet", ("WITH_AIN",))
        ignore_options(cfg, "EfficientNet", ("WITH_IBN", "WITH_SE", "WITH_NL"))
        node = cfg.MODEL.BACKBONE
        return {"depth": node.DEPTH, "last_stride": node.LAST_STRIDE, "norm": node.NORM}

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for part in self.children():
            x = part(x)
        return x

    def official_weights(self) -> OfficialWeights:
        """torchvision's."""
        return torchvision_weights(f"EfficientNet_{self.depth.upper()}_Weights.IMAGENET1K_V1")

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's names and epsilon, and the order of colours of pycls."""
        if TORCHVISION_CLASSIFIER not in state:
            return pycls_to_rgb(state)
        if self.depth in TORCHVISION_EPSILON:
            state = absorb_epsilon(state, TORCHVISION_EPSILON[self.depth])
        return rename(state, FROM_TORCHVISION)


def _block_name(match: re.Match[str]) -> str:
    """Name of a layer of a block, of which torchvision counts those that are there."""
    stage, block, layer = map(int, match.groups())
    layers = ("exp", "dwise", "se", "lin_proj") if EXPANSIONS[stage - 1] > 1 else ("dwise", "se", "lin_proj")
    return f"s{stage}.b{block + 1}.{layers[layer]}"


FROM_TORCHVISION: Rules = {
    r"^features\.(\d)\.(\d+)\.block\.(\d)": _block_name,
    r"^features\.0\.0": "stem.conv",
    r"^features\.0\.1": "stem.bn",
    r"^features\.8\.0": "head.conv",
    r"^features\.8\.1": "head.conv_bn",
    r"\.(exp|dwise|lin_proj)\.0": r".\1",
    r"\.(exp|dwise|lin_proj)\.1": r".\1_bn",
    r"\.se\.fc1": ".se.f_ex.0",
    r"\.se\.fc2": ".se.f_ex.2",
}
