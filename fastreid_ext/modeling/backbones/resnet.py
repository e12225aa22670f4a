"""ResNet with instance-batch norm, squeeze-and-excitation and non-local blocks, under FastReID's state names."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import OfficialWeights, choose_variant
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.backbones.residual import (
    BLOCKS_PER_STAGE,
    NO_NON_LOCAL,
    ResidualBlock,
    ResidualNet,
    build_stages,
    inner_channels,
)
from fastreid_ext.modeling.backbones.torchvision_weights import torchvision_weights
from fastreid_ext.modeling.layers import IBN, SELayer, build_norm
from fastreid_ext.utils.logger import get_logger

__all__ = ["BasicBlock", "Bottleneck", "ResNet"]

logger = get_logger(__name__)


class _ResNetBlock(ResidualBlock):
    """The first norm is IBN if `with_ibn`; `width` is that of the first two convolutions."""

    def __init__(
        self, inputs: int, width: int, outputs: int, stride: int, norm: str, with_ibn: bool, with_se: bool
    ) -> None:
        super().__init__()
        self.bn1 = IBN(width, norm) if with_ibn else build_norm(norm, width)
        self.bn2 = build_norm(norm, width)
        self.se = SELayer(outputs) if with_se else nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), build_norm(norm, outputs)
            )


class BasicBlock(_ResNetBlock):
    """Two 3x3 convolutions, of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, norm: str, with_ibn: bool, with_se: bool) -> None:
        super().__init__(inputs, planes, planes, stride, norm, with_ibn, with_se)
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.se(self.bn2(self.conv2(x)))
        return out


class Bottleneck(_ResNetBlock):
    """1x1, 3x3 and 1x1 convolution, of ResNet-50 and deeper; the stride is in the 3x3 one.

    In ResNeXt that one has `groups`, each as wide as `base_width` says for 64 planes (Xie et al., CVPR 2017).
    """

    def __init__(
        self,
        inputs: int,
        planes: int,
        stride: int,
        norm: str,
        with_ibn: bool,
        with_se: bool,
        groups: int = 1,
        base_width: int = 64,
    ) -> None:
        width, outputs = planes * base_width // 64 * groups, planes * self.expansion
        super().__init__(inputs, width, outputs, stride, norm, with_ibn, with_se)
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, groups=groups, bias=False)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = build_norm(norm, outputs)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.se(self.bn3(self.conv3(x)))
        return out


BLOCKS: dict[str, type[BasicBlock | Bottleneck]] = {
    "18x": BasicBlock,
    "34x": BasicBlock,
    "50x": Bottleneck,
    "101x": Bottleneck,
    "152x": Bottleneck,
}
NON_LOCAL_PER_STAGE = {"50x": (0, 2, 3, 0), "101x": (0, 2, 9, 0), "152x": (0, 2, 9, 0)}

IBN_FILES = {
    "18x": "resnet18_ibn_a-2f571257.pth",
    "34x": "resnet34_ibn_a-94bc1577.pth",
    "50x": "resnet50_ibn_a-d9d0bb7b.pth",
    "101x": "resnet101_ibn_a-59ea0ac6.pth",
}
SE_IBN_FILES = {"101x": "se_resnet101_ibn_a-fabed4e2.pth"}
IBN_RELEASE = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0"


@BACKBONES.register("build_resnet_backbone", source="He et al., CVPR 2016", aliases=("ResNet",))
class ResNet(ResidualNet):
    """Residual network, optionally with IBN-a, squeeze-and-excitation and non-local blocks.

    Args:
        depth: "18x", "34x", "50x", "101x" or "152x".
        last_stride: of the last stage; 1 keeps its map at a sixteenth of the image (Luo et al. 2019).
        norm: name of a norm.
        with_ibn: instance-batch norm in the blocks of the first three stages (Pan et al., ECCV 2018).
        with_se: squeeze-and-excitation in all blocks (Hu et al., CVPR 2018).
        with_nl: non-local blocks after the last blocks of stages 2 and 3 (Wang et al., CVPR 2018).
        non_local_channels: inner channels of the non-local blocks; None takes half as that paper does, 1 fits
            FastReID's published weights.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 512 or 2048, H/16, W/16), with last stride 2 H/32, W/32.

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
        with_se: bool = False,
        with_nl: bool = False,
        non_local_channels: int | None = None,
    ) -> None:
        kind = choose_variant("ResNet", depth, BLOCKS)
        if with_nl and depth not in NON_LOCAL_PER_STAGE:
            logger.warning("ResNet %s has no non-local blocks: MODEL.BACKBONE.WITH_NL changes nothing", depth)

        def block(stage: int, inputs: int, planes: int, stride: int) -> ResidualBlock:
            return kind(inputs, planes, stride, norm, with_ibn and stage < 4, with_se)

        super().__init__(
            conv1=nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            bn1=build_norm(norm, 64),
            # FastReID's weights were trained with this window, which differs from torchvision's at the border.
            maxpool=nn.MaxPool2d(3, stride=2, ceil_mode=True),
            stages=build_stages(BLOCKS_PER_STAGE[depth], 64, last_stride, block),
            feature_dim=512 * kind.expansion,
            non_local=NON_LOCAL_PER_STAGE.get(depth, NO_NON_LOCAL) if with_nl else NO_NON_LOCAL,
            non_local_channels=non_local_channels,
            norm=norm,
        )
        self.depth, self.with_ibn, self.with_se = depth, with_ibn, with_se

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.BACKBONE
        return {
            "depth": node.DEPTH,
            "last_stride": node.LAST_STRIDE,
            "norm": node.NORM,
            "with_ibn": node.WITH_IBN,
            "with_se": node.WITH_SE,
            "with_nl": node.WITH_NL,
            "non_local_channels": inner_channels(cfg),
        }

    def official_weights(self) -> OfficialWeights | None:
        """torchvision's for the plain network, the authors' releases for IBN."""
        if self.with_ibn:
            file = (SE_IBN_FILES if self.with_se else IBN_FILES).get(self.depth)
            return OfficialWeights(f"{file} of IBN-Net, {IBN_RELEASE}/{file}") if file else None
        if self.with_se:
            return None
        return torchvision_weights(f"ResNet{self.depth.removesuffix('x')}_Weights.IMAGENET1K_V1")
