"""What residual networks share: how a block ends, the order of stages, and where non-local blocks are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from torch import Tensor, nn

from fastreid_ext.config import CfgNode
from fastreid_ext.modeling.backbones.base import Backbone
from fastreid_ext.modeling.layers import NonLocal, init_convs

__all__ = ["BLOCKS_PER_STAGE", "NO_NON_LOCAL", "ResidualBlock", "ResidualNet", "build_stages", "inner_channels"]

PLANES = (64, 128, 256, 512)
BLOCKS_PER_STAGE = {
    "18x": (2, 2, 2, 2),
    "34x": (3, 4, 6, 3),
    "50x": (3, 4, 6, 3),
    "101x": (3, 4, 23, 3),
    "152x": (3, 8, 36, 3),
}
NO_NON_LOCAL = (0, 0, 0, 0)


class ResidualBlock(nn.Module):
    """Adds a branch to its input, or to what `downsample` makes of it.

    Shape:
        x: (B, C, h, w).
        returns: (B, C', h', w'), what the branch gives.
    """

    expansion: ClassVar[int] = 4

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        # One of its own, so that the network's last activation can be told from the others.
        self.last_relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.last_relu(self.branch(x) + shortcut)
        return result


def build_stages(
    counts: Sequence[int],
    inputs: int,
    last_stride: int,
    block: Callable[[int, int, int, int], ResidualBlock],
) -> list[nn.Sequential]:
    """Four stages, whose first blocks widen the map and, but for the first stage, halve it.

    Args:
        counts: blocks of each stage.
        inputs: channels of the stem.
        last_stride: of the last stage.
        block: (stage from 1, channels it takes, planes, stride) -> block that gives `expansion` times `planes`.
    """
    stages = []
    for stage, (count, planes, stride) in enumerate(zip(counts, PLANES, (1, 2, 2, last_stride), strict=True), 1):
        blocks: list[ResidualBlock] = []
        for index in range(count):
            blocks.append(block(stage, inputs, planes, stride if index == 0 else 1))
            inputs = planes * blocks[-1].expansion
        stages.append(nn.Sequential(*blocks))
    return stages


class ResidualNet(Backbone):
    """A stem and four stages, with non-local blocks after the last blocks of some; state names are FastReID's.

    Args:
        conv1: the stem's convolution or convolutions.
        bn1: the norm after them.
        maxpool: the stem's pooling.
        stages: of blocks that give the same number of channels within a stage, twice as many in the next.
        feature_dim: channels that the last stage gives.
        non_local: how many non-local blocks each stage has (Wang et al., CVPR 2018).
        non_local_channels: inner channels of these; None takes half.
        norm: name of their norm.

    Shape:
        images: (B, 3, H, W).
        returns: (B, `feature_dim`, h, w).
    """

    new_layers = ("NL_",)

    def __init__(
        self,
        *,
        conv1: nn.Module,
        bn1: nn.Module,
        maxpool: nn.Module,
        stages: Sequence[nn.Sequential],
        feature_dim: int,
        non_local: Sequence[int] = NO_NON_LOCAL,
        non_local_channels: int | None = None,
        norm: str = "BN",
    ) -> None:
        super().__init__()
        self.feature_dim = feature_dim
        self.conv1, self.bn1, self.relu, self.maxpool = conv1, bn1, nn.ReLU(inplace=True), maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        # Before the non-local blocks, whose convolutions keep the weights that they are made with.
        init_convs(self)
        self.NL_1, self.NL_2, self.NL_3, self.NL_4 = (
            nn.ModuleList([NonLocal(feature_dim >> shift, non_local_channels, norm) for _ in range(count)])
            for count, shift in zip(non_local, (3, 2, 1, 0), strict=True)
        )

    def forward(self, images: Tensor) -> Tensor:
        x: Tensor = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = _run_stage(self.layer1, self.NL_1, x)
        x = _run_stage(self.layer2, self.NL_2, x)
        x = _run_stage(self.layer3, self.NL_3, x)
        return _run_stage(self.layer4, self.NL_4, x)


def inner_channels(cfg: CfgNode) -> int | None:
    """Inner channels of non-local blocks that a config asks for; None for half of the outer ones."""
    return 1 if cfg.COMPAT.ONE_CHANNEL_NON_LOCAL else cfg.MODEL.BACKBONE.NON_LOCAL_CHANNELS or None


def _run_stage(blocks: nn.Sequential, non_local: nn.ModuleList, x: Tensor) -> Tensor:
    """The blocks, with the non-local ones after the last of them."""
    plain = len(blocks) - len(non_local)
    for index, block in enumerate(blocks):
        x = block(x)
        if index >= plain:
            x = non_local[index - plain](x)
    return x
