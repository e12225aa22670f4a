"""ResNet with instance-batch norm, squeeze-and-excitation and non-local blocks, under FastReID's state names."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import Backbone, OfficialWeights, choose_variant
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.backbones.torchvision_weights import torchvision_weights
from fastreid_ext.modeling.layers import IBN, NonLocal, SELayer, build_norm, init_convs
from fastreid_ext.utils.logger import get_logger

__all__ = ["BasicBlock", "Bottleneck", "ResNet"]

logger = get_logger(__name__)


class _ResidualBlock(nn.Module):
    """Adds a branch of convolutions to its input; the first norm is IBN if `with_ibn`."""

    expansion: ClassVar[int]

    def __init__(self, inputs: int, planes: int, stride: int, norm: str, with_ibn: bool, with_se: bool) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.bn1 = IBN(planes, norm) if with_ibn else build_norm(norm, planes)
        self.bn2 = build_norm(norm, planes)
        self.relu = nn.ReLU(inplace=True)
        # One of its own, so that the network's last activation can be told from the others.
        self.last_relu = nn.ReLU(inplace=True)
        self.se = SELayer(outputs) if with_se else nn.Identity()
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), build_norm(norm, outputs)
            )

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.last_relu(self.se(self.branch(x)) + shortcut)
        return result


class BasicBlock(_ResidualBlock):
    """Two 3x3 convolutions, of ResNet-18 and 34."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, norm: str, with_ibn: bool, with_se: bool) -> None:
        super().__init__(inputs, planes, stride, norm, with_ibn, with_se)
        self.conv1 = nn.Conv2d(inputs, planes, 3, stride=stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.bn2(self.conv2(x))
        return out


class Bottleneck(_ResidualBlock):
    """1x1, 3x3 and 1x1 convolution, of ResNet-50 and deeper; the stride is in the 3x3 one."""

    expansion = 4

    def __init__(self, inputs: int, planes: int, stride: int, norm: str, with_ibn: bool, with_se: bool) -> None:
        super().__init__(inputs, planes, stride, norm, with_ibn, with_se)
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.conv3 = nn.Conv2d(planes, planes * self.expansion, 1, bias=False)
        self.bn3 = build_norm(norm, planes * self.expansion)

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        out: Tensor = self.bn3(self.conv3(x))
        return out


BLOCKS: dict[str, type[_ResidualBlock]] = {
    "18x": BasicBlock,
    "34x": BasicBlock,
    "50x": Bottleneck,
    "101x": Bottleneck,
    "152x": Bottleneck,
}
BLOCKS_PER_STAGE = {
    "18x": (2, 2, 2, 2),
    "34x": (3, 4, 6, 3),
    "50x": (3, 4, 6, 3),
    "101x": (3, 4, 23, 3),
    "152x": (3, 8, 36, 3),
}
NO_NON_LOCAL = (0, 0, 0, 0)
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
class ResNet(Backbone):
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

    new_layers = ("NL_",)

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
        super().__init__()
        self.block = choose_variant("ResNet", depth, BLOCKS)
        self.depth, self.norm, self.with_ibn, self.with_se = depth, norm, with_ibn, with_se
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = build_norm(norm, 64)
        self.relu = nn.ReLU(inplace=True)
        # FastReID's weights were trained with this window, which differs from torchvision's at the border.
        self.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        widths = [64] + [planes * self.block.expansion for planes in (64, 128, 256, 512)]
        self.layer1 = self._stage(1, widths[0], stride=1)
        self.layer2 = self._stage(2, widths[1], stride=2)
        self.layer3 = self._stage(3, widths[2], stride=2)
        self.layer4 = self._stage(4, widths[3], stride=last_stride)
        self.feature_dim = widths[4]
        init_convs(self)
        if with_nl and depth not in NON_LOCAL_PER_STAGE:
            logger.warning("ResNet %s has no non-local blocks: MODEL.BACKBONE.WITH_NL changes nothing", depth)
        counts = NON_LOCAL_PER_STAGE.get(depth, NO_NON_LOCAL) if with_nl else NO_NON_LOCAL
        self.NL_1, self.NL_2, self.NL_3, self.NL_4 = (
            nn.ModuleList([NonLocal(width, non_local_channels, norm) for _ in range(count)])
            for count, width in zip(counts, widths[1:], strict=True)
        )

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
            "non_local_channels": 1 if cfg.COMPAT.ONE_CHANNEL_NON_LOCAL else node.NON_LOCAL_CHANNELS or None,
        }

    def _stage(self, stage: int, inputs: int, stride: int) -> nn.Sequential:
        planes = 32 << stage
        with_ibn = self.with_ibn and stage < 4
        blocks = []
        for index in range(BLOCKS_PER_STAGE[self.depth][stage - 1]):
            blocks.append(self.block(inputs, planes, stride if index == 0 else 1, self.norm, with_ibn, self.with_se))
            inputs = planes * self.block.expansion
        return nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = _run_stage(self.layer1, self.NL_1, x)
        x = _run_stage(self.layer2, self.NL_2, x)
        x = _run_stage(self.layer3, self.NL_3, x)
        return _run_stage(self.layer4, self.NL_4, x)

    def official_weights(self) -> OfficialWeights | None:
        """torchvision's for the plain network, the authors' releases for IBN."""
        if self.with_ibn:
            file = (SE_IBN_FILES if self.with_se else IBN_FILES).get(self.depth)
            return OfficialWeights(f"{file} of IBN-Net, {IBN_RELEASE}/{file}") if file else None
        if self.with_se:
            return None
        return torchvision_weights(f"ResNet{self.depth.removesuffix('x')}_Weights.IMAGENET1K_V1")


def _run_stage(blocks: nn.Sequential, non_local: nn.ModuleList, x: Tensor) -> Tensor:
    """The blocks, with the non-local ones after the last of them."""
    plain = len(blocks) - len(non_local)
    for index, block in enumerate(blocks):
        x = block(x)
        if index >= plain:
            x = non_local[index - plain](x)
    return x
