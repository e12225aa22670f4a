"""OSNet with its instance-normalised variants, under the state names of its authors and of FastReID."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, configurable
from fastreid_ext.modeling.backbones.base import Backbone, OfficialWeights, choose_variant, refuse_options
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.layers import build_norm, init_convs

__all__ = ["OSBlock", "OSBlockAIN", "OSNet"]

REDUCTION = 4
SCALES = 4
WIDTHS = {
    "x1_0": (64, 256, 384, 512),
    "x0_75": (48, 192, 288, 384),
    "x0_5": (32, 128, 192, 256),
    "x0_25": (16, 64, 96, 128),
}
MODEL_ZOO = "https://kaiyangzhou.github.io/deep-person-reid/MODEL_ZOO"


class ConvNorm(nn.Module):
    """Convolution, norm and, if `relu`, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, norm: nn.Module | None, *, size: int = 1, stride: int = 1, relu: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
        self.bn = norm
        self.relu = nn.ReLU(inplace=True) if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.bn is not None:
            x = self.bn(x)
        out: Tensor = self.relu(x)
        return out


class LightConv3x3(nn.Module):
    """Pointwise, then depthwise 3x3 convolution, norm, ReLU (Zhou et al., ICCV 2019, Fig. 3)."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = build_norm(norm, channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.bn(self.conv2(self.conv1(x))))
        return out


class ChannelGate(nn.Module):
    """The unified aggregation gate, which all scales share: a weight in (0, 1) for each channel (Eq. 3)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // reduction, 1)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.relu(self.fc1(x.mean(dim=(2, 3), keepdim=True)))
        return x * torch.sigmoid(self.fc2(hidden))


class _OmniScaleBlock(nn.Module):
    """Residual block that sums gated streams of one to four light convolutions."""

    def __init__(self, inputs: int, outputs: int, norm: str, last_norm: nn.Module | None) -> None:
        super().__init__()
        inner = outputs // REDUCTION
        self.conv1 = ConvNorm(inputs, inner, build_norm(norm, inner))
        self.gate = ChannelGate(inner)
        self.conv3 = ConvNorm(inner, outputs, last_norm, relu=False)
        self.downsample: nn.Module | None = None
        if inputs != outputs:
            self.downsample = ConvNorm(inputs, outputs, build_norm(norm, outputs), relu=False)
        self.relu = nn.ReLU(inplace=True)

    def streams(self) -> list[nn.Module]:
        raise NotImplementedError

    def branch(self, x: Tensor) -> Tensor:
        reduced = self.conv1(x)
        gated = (self.gate(stream(reduced)) for stream in self.streams())
        out: Tensor = self.conv3(functools.reduce(torch.add, gated))
        return out

    def shortcut(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample(x)


class OSBlock(_OmniScaleBlock):
    """Omni-scale block; with `with_ibn` its sum is instance-normalised."""

    def __init__(self, inputs: int, outputs: int, norm: str = "BN", with_ibn: bool = False) -> None:
        super().__init__(inputs, outputs, norm, build_norm(norm, outputs))
        inner = outputs // REDUCTION
        self.conv2a = LightConv3x3(inner, norm)
        self.conv2b = nn.Sequential(*[LightConv3x3(inner, norm) for _ in range(2)])
        self.conv2c = nn.Sequential(*[LightConv3x3(inner, norm) for _ in range(3)])
        self.conv2d = nn.Sequential(*[LightConv3x3(inner, norm) for _ in range(4)])
        self.IN = nn.InstanceNorm2d(outputs, affine=True) if with_ibn else None

    def streams(self) -> list[nn.Module]:
        return [self.conv2a, self.conv2b, self.conv2c, self.conv2d]

    def forward(self, x: Tensor) -> Tensor:
        total = self.branch(x) + self.shortcut(x)
        out: Tensor = self.relu(total if self.IN is None else self.IN(total))
        return out


class LightConvStream(nn.Module):
    """A number of light convolutions one after the other."""

    def __init__(self, channels: int, depth: int, norm: str) -> None:
        super().__init__()
        self.layers = nn.Sequential(*[LightConv3x3(channels, norm) for _ in range(depth)])

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class OSBlockAIN(_OmniScaleBlock):
    """Omni-scale block of the searched network; with `instance_norm` its branch ends in one instead of `norm`."""

    def __init__(self, inputs: int, outputs: int, norm: str = "BN", instance_norm: bool = True) -> None:
        super().__init__(inputs, outputs, norm, None if instance_norm else build_norm(norm, outputs))
        self.conv2 = nn.ModuleList(
            [LightConvStream(outputs // REDUCTION, depth, norm) for depth in range(1, SCALES + 1)]
        )
        self.IN = nn.InstanceNorm2d(outputs, affine=True) if instance_norm else None

    def streams(self) -> list[nn.Module]:
        return list(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.branch(x)
        if self.IN is not None:
            branch = self.IN(branch)
        out: Tensor = self.relu(branch + self.shortcut(x))
        return out


@BACKBONES.register("build_osnet_backbone", source="Zhou et al., ICCV 2019, TPAMI 2021", aliases=("OSNet",))
class OSNet(Backbone):
    """Omni-scale network, plain, with IBN, or with searched instance norms (AIN).

    Args:
        depth: width of the network: "x1_0", "x0_75", "x0_5" or "x0_25".
        norm: name of a norm.
        with_ibn: instance norm in the stem and after the blocks of the first stage.
        with_ain: instance norm in the stem and in the blocks where the search placed it (TPAMI 2021).

    Shape:
        images: (B, 3, H, W).
        returns: (B, 512 times the width, H/16, W/16).

    Raises:
        ConfigError: unknown depth, or both `with_ibn` and `with_ain`.
    """

    @configurable
    def __init__(
        self, *, depth: str = "x1_0", norm: str = "BN", with_ibn: bool = False, with_ain: bool = False
    ) -> None:
        super().__init__()
        if with_ibn and with_ain:
            raise ConfigError("OSNet has either IBN or AIN: turn one of WITH_IBN and WITH_AIN off in MODEL.BACKBONE")
        stem, *widths = choose_variant("OSNet", depth, WIDTHS)
        self.name = f"osnet_{'ibn_' if with_ibn else 'ain_' if with_ain else ''}{depth}"
        self.feature_dim = widths[-1]
        self.pool2: nn.Module = nn.Identity()
        self.pool3: nn.Module = nn.Identity()
        stem_norm = nn.InstanceNorm2d(stem, affine=True) if with_ibn or with_ain else build_norm(norm, stem)
        self.conv1 = ConvNorm(3, stem, stem_norm, size=7, stride=2)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        if with_ain:
            self._build_ain(stem, widths, norm)
        else:
            self._build(stem, widths, norm, with_ibn)
        self.conv5 = ConvNorm(widths[2], widths[2], build_norm(norm, widths[2]))
        init_convs(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "OSNet", ("WITH_SE", "WITH_NL"))
        node = cfg.MODEL.BACKBONE
        return {"depth": node.DEPTH, "norm": node.NORM, "with_ibn": node.WITH_IBN, "with_ain": node.WITH_AIN}

    def _build(self, stem: int, widths: list[int], norm: str, with_ibn: bool) -> None:
        def blocks(inputs: int, outputs: int, ibn: bool) -> list[nn.Module]:
            return [OSBlock(inputs, outputs, norm, ibn), OSBlock(outputs, outputs, norm, ibn)]

        self.conv2 = nn.Sequential(*blocks(stem, widths[0], with_ibn), _reduction(widths[0], norm))
        self.conv3 = nn.Sequential(*blocks(widths[0], widths[1], False), _reduction(widths[1], norm))
        self.conv4 = nn.Sequential(*blocks(widths[1], widths[2], False))

    def _build_ain(self, stem: int, widths: list[int], norm: str) -> None:
        def blocks(inputs: int, outputs: int, first: bool, second: bool) -> nn.Sequential:
            return nn.Sequential(OSBlockAIN(inputs, outputs, norm, first), OSBlockAIN(outputs, outputs, norm, second))

        self.conv2 = blocks(stem, widths[0], True, True)
        self.pool2 = _reduction(widths[0], norm)
        self.conv3 = blocks(widths[0], widths[1], False, True)
        self.pool3 = _reduction(widths[1], norm)
        self.conv4 = blocks(widths[1], widths[2], True, False)

    def forward(self, images: Tensor) -> Tensor:
        x = self.maxpool(self.conv1(images))
        x = self.pool2(self.conv2(x))
        x = self.pool3(self.conv3(x))
        out: Tensor = self.conv5(self.conv4(x))
        return out

    def official_weights(self) -> OfficialWeights:
        """The authors' model zoo."""
        return OfficialWeights(f"{self.name}_imagenet.pth of torchreid's model zoo ({MODEL_ZOO})")


def _reduction(channels: int, norm: str) -> nn.Sequential:
    """Pointwise convolution and halving of the map."""
    return nn.Sequential(ConvNorm(channels, channels, build_norm(norm, channels)), nn.AvgPool2d(2))
