"""ResNeSt, under the state names of its authors and of FastReID."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import OfficialWeights, choose_variant, ignore_options, refuse_options
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.backbones.released_weights import released_weights
from fastreid_ext.modeling.backbones.residual import ResidualBlock, ResidualNet, build_stages
from fastreid_ext.modeling.layers import SplitAttentionConv, build_norm

__all__ = ["ResNeSt", "SplitAttentionBottleneck"]


class _Variant(NamedTuple):
    blocks: tuple[int, int, int, int]
    stem: int
    file: str


RELEASE = "https://github.com/zhanghang1989/ResNeSt/releases/download/weights_step1"
VARIANTS = {
    "50x": _Variant((3, 4, 6, 3), 32, "resnest50-528c19ca.pth"),
    "101x": _Variant((3, 4, 23, 3), 64, "resnest101-22405ba7.pth"),
    "200x": _Variant((3, 24, 36, 3), 64, "resnest200-75117900.pth"),
    "269x": _Variant((3, 30, 48, 8), 64, "resnest269-0cc87c48.pth"),
}


class SplitAttentionBottleneck(ResidualBlock):
    """1x1 convolution, split attention and 1x1 convolution; strides are those of average poolings.

    Args:
        inputs: channels of the map.
        planes: channels between the convolutions, a fourth of those that the block gives.
        stride: of the pooling after the split attention, and of that before the shortcut's convolution.
        dilation: of the split attention's convolution.
        pool: whether there is a pooling after the split attention.
        norm: name of a norm.
    """

    def __init__(
        self, inputs: int, planes: int, *, stride: int = 1, dilation: int = 1, pool: bool = False, norm: str = "BN"
    ) -> None:
        super().__init__()
        outputs = planes * self.expansion
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = build_norm(norm, planes)
        self.conv2 = SplitAttentionConv(planes, planes, dilation=dilation, norm=norm)
        self.avd_layer = nn.AvgPool2d(3, stride, padding=1) if pool else nn.Identity()
        self.conv3 = nn.Conv2d(planes, outputs, 1, bias=False)
        self.bn3 = build_norm(norm, outputs)
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                build_norm(norm, outputs),
            )

    def branch(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        out: Tensor = self.bn3(self.conv3(self.avd_layer(self.conv2(x))))
        return out


@BACKBONES.register("build_resnest_backbone", source="Zhang et al., CVPRW 2022, arXiv:2004.08955", aliases=("ResNeSt",))
class ResNeSt(ResidualNet):
    """Residual network with split attention (radix 2, one group), a stem of three convolutions and pooled strides.

    Args:
        depth: "50x", "101x", "200x" or "269x".
        last_stride: of the last stage; 1 keeps its map at a sixteenth of the image, and dilates the convolutions after
            its first block instead.
        norm: name of a norm.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 2048, H/16, W/16), with last stride 2 H/32, W/32.

    Raises:
        ConfigError: unknown depth.
    """

    @configurable
    def __init__(self, *, depth: str = "50x", last_stride: int = 1, norm: str = "BN") -> None:
        variant = choose_variant("ResNeSt", depth, VARIANTS)

        def block(stage: int, inputs: int, planes: int, stride: int) -> ResidualBlock:
            first = inputs != planes * SplitAttentionBottleneck.expansion
            dilated = stage == 4 and last_stride == 1 and not first
            return SplitAttentionBottleneck(
                inputs, planes, stride=stride, dilation=2 if dilated else 1, pool=first and stage > 1, norm=norm
            )

        super().__init__(
            conv1=_stem(variant.stem, norm),
            bn1=build_norm(norm, 2 * variant.stem),
            maxpool=nn.MaxPool2d(3, stride=2, padding=1),
            stages=build_stages(variant.blocks, 2 * variant.stem, last_stride, block),
            feature_dim=2048,
        )
        self.file = variant.file

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "ResNeSt", ("WITH_AIN",))
        ignore_options(cfg, "ResNeSt", ("WITH_IBN", "WITH_SE", "WITH_NL"))
        node = cfg.MODEL.BACKBONE
        return {"depth": node.DEPTH, "last_stride": node.LAST_STRIDE, "norm": node.NORM}

    def official_weights(self) -> OfficialWeights:
        """The authors' release."""
        return released_weights(f"{RELEASE}/{self.file}")


def _stem(width: int, norm: str) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False),
        build_norm(norm, width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        build_norm(norm, width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
    )
