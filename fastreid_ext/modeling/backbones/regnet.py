"""RegNet, under the state names of pycls and of FastReID."""

from __future__ import annotations

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
from fastreid_ext.modeling.backbones.conversion import Rules, rename
from fastreid_ext.modeling.backbones.pycls import PyclsSE, conv_layers, pycls_stem, pycls_to_rgb, pycls_weights
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.backbones.torchvision_weights import torchvision_weights
from fastreid_ext.modeling.layers import build_norm, init_convs

__all__ = ["RegNet", "RegNetBlock"]

STEM_WIDTH = 32
REDUCTION = 4

# Width of a group of channels; blocks and width of each stage. The names count millions of multiplications and
# additions for an image of 224x224.
VARIANTS = {
    "200x": (8, (1, 1, 4, 7), (24, 56, 152, 368)),
    "200y": (8, (1, 1, 4, 7), (24, 56, 152, 368)),
    "400x": (16, (1, 2, 7, 12), (32, 64, 160, 384)),
    "400y": (8, (1, 3, 6, 6), (48, 104, 208, 440)),
    "800x": (16, (1, 3, 7, 5), (64, 128, 288, 672)),
    "800y": (16, (1, 3, 8, 2), (64, 128, 320, 768)),
    "1600x": (24, (2, 4, 10, 2), (72, 168, 408, 912)),
    "1600y": (24, (2, 6, 17, 2), (48, 120, 336, 888)),
    "3200x": (48, (2, 6, 15, 2), (96, 192, 432, 1008)),
    "3200y": (24, (2, 5, 13, 1), (72, 216, 576, 1512)),
    "4000x": (40, (2, 5, 14, 2), (80, 240, 560, 1360)),
    "4000y": (64, (2, 6, 12, 2), (128, 192, 512, 1088)),
    "6400x": (56, (2, 4, 10, 1), (168, 392, 784, 1624)),
    "6400y": (72, (2, 7, 14, 2), (144, 288, 576, 1296)),
}

# Its RegNetX-400MF and RegNetY-800MF are wider than these.
IN_TORCHVISION = {
    "400y": "RegNet_Y_400MF",
    "800x": "RegNet_X_800MF",
    "1600x": "RegNet_X_1_6GF",
    "1600y": "RegNet_Y_1_6GF",
    "3200x": "RegNet_X_3_2GF",
    "3200y": "RegNet_Y_3_2GF",
}
IN_PYCLS = {
    "200x": "160905981/RegNetX-200MF_dds_8gpu.pyth",
    "200y": "176245422/RegNetY-200MF_dds_8gpu.pyth",
    "400x": "160905967/RegNetX-400MF_dds_8gpu.pyth",
    "800y": "160906567/RegNetY-800MF_dds_8gpu.pyth",
    "4000x": "160906383/RegNetX-4.0GF_dds_8gpu.pyth",
    "4000y": "160906838/RegNetY-4.0GF_dds_8gpu.pyth",
    "6400x": "161116590/RegNetX-6.4GF_dds_8gpu.pyth",
    "6400y": "160907112/RegNetY-6.4GF_dds_8gpu.pyth",
}
FROM_TORCHVISION: Rules = {
    r"^trunk_output\.block\d\.block(\d)-(\d+)": lambda match: f"s{match[1]}.b{int(match[2]) + 1}",
    r"^stem\.0": "stem.conv",
    r"^stem\.1": "stem.bn",
    r"\.proj\.0": ".proj",
    r"\.proj\.1": ".bn",
    r"\.f\.([abc])\.0": r".f.\1",
    r"\.f\.([abc])\.1": r".f.\1_bn",
    r"\.se\.fc1": ".se.f_ex.0",
    r"\.se\.fc2": ".se.f_ex.2",
}


class RegNetBlock(nn.Module):
    """Adds a branch of 1x1, grouped 3x3 and 1x1 convolution to its input; of RegNetY if `with_se`."""

    def __init__(
        self, inputs: int, outputs: int, *, stride: int, group_width: int, norm: str = "BN", with_se: bool = False
    ) -> None:
        super().__init__()
        self.proj: nn.Module = nn.Identity()
        self.bn: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.proj = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            self.bn = build_norm(norm, outputs)
        groups = outputs // group_width
        self.f = nn.Sequential(
            OrderedDict(
                **conv_layers("a", inputs, outputs, norm, nn.ReLU),
                **conv_layers("b", outputs, outputs, norm, nn.ReLU, size=3, stride=stride, groups=groups),
                # The gate's width follows the block's input, unlike in ResNets.
                **({"se": PyclsSE(outputs, inputs // REDUCTION, nn.ReLU)} if with_se else {}),
                **conv_layers("c", outputs, outputs, norm, None),
            )
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.bn(self.proj(x)) + self.f(x))
        return out


@BACKBONES.register("build_regnet_backbone", source="Radosavovic et al., CVPR 2020", aliases=("RegNet",))
class RegNet(Backbone):
    """Network of a designed space of networks: RegNetX, and RegNetY with squeeze-and-excitation.

    Args:
        depth: "200x", "400x", "800x", "1600x", "3200x", "4000x" or "6400x", or one of these with "y".
        last_stride: of the last stage; 1 keeps its map at a sixteenth of the image.
        norm: name of a norm.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 368 to 1624, H/16, W/16), with last stride 2 H/32, W/32.

    Raises:
        ConfigError: unknown depth.
    """

    @configurable
    def __init__(self, *, depth: str = "800y", last_stride: int = 1, norm: str = "BN") -> None:
        super().__init__()
        group_width, counts, widths = choose_variant("RegNet", depth, VARIANTS)
        self.depth = depth
        self.feature_dim = widths[-1]

        def stage(index: int, stride: int) -> nn.Sequential:
            blocks: OrderedDict[str, nn.Module] = OrderedDict()
            inputs = widths[index - 1] if index else STEM_WIDTH
            for number in range(counts[index]):
                blocks[f"b{number + 1}"] = RegNetBlock(
                    inputs,
                    widths[index],
                    stride=1 if number else stride,
                    group_width=group_width,
                    norm=norm,
                    with_se=depth.endswith("y"),
                )
                inputs = widths[index]
            return nn.Sequential(blocks)

        self.stem = pycls_stem(STEM_WIDTH, norm, nn.ReLU)
        self.s1, self.s2, self.s3 = stage(0, 2), stage(1, 2), stage(2, 2)
        self.s4 = stage(3, last_stride)
        init_convs(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "RegNet", ("WITH_AIN",))
        ignore_options(cfg, "RegNet", ("WITH_IBN", "WITH_SE", "WITH_NL"))
        node = cfg.MODEL.BACKBONE
        return {"depth": node.DEPTH, "last_stride": node.LAST_STRIDE, "norm": node.NORM}

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.s4(self.s3(self.s2(self.s1(self.stem(images)))))
        return out

    def official_weights(self) -> OfficialWeights:
        """torchvision's, or those of pycls for the networks that it lacks."""
        if self.depth in IN_TORCHVISION:
            return torchvision_weights(f"{IN_TORCHVISION[self.depth]}_Weights.IMAGENET1K_V1")
        return pycls_weights(IN_PYCLS[self.depth])

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's names, and the order of colours of pycls."""
        return rename(pycls_to_rgb(state), FROM_TORCHVISION)
