"""The multi-scale interaction cell (section 3.2 and Fig. 2 of the paper)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from fastreid_ext.projects.msinet.inference import InferenceCell, can_merge

__all__ = ["FUSIONS", "MSICell", "conv1x1", "light_conv3x3"]

Interaction = Callable[[int], nn.Module]

FUSIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "sum": lambda y1, y2: y1 + y2,
    "minus": lambda y1, y2: y1 - y2,
    "mul": lambda y1, y2: y1 * y2,
}
"""How a cell makes one map of its two branches (Fig. 5c of the paper)."""


def conv1x1(in_channels: int, out_channels: int, *, relu: bool = True) -> nn.Sequential:
    """1x1 convolution, batch norm and, unless `relu` is off, ReLU."""
    layers = [nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


def light_conv3x3(channels: int) -> nn.Sequential:
    """OSNet's light convolution: linear 1x1, depth-wise 3x3, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU(inplace=True),
    )


class MSICell(nn.Module):
    """Two branches of different receptive field that interact twice, fused and added to the input.

    Args:
        interactions: what makes each of the two interactions, given the channels inside the branches.
        depths: light convolutions of each branch before each interaction; their ratio is the scale ratio (rho).
        inner: channels inside the branches; None for a quarter of `out_channels`.
        fusion: how the branches become one map: "sum", "minus" or "mul".

    Shape:
        x: (B, in_channels, h, w).
        returns: (B, out_channels, h, w).

    Raises:
        ValueError: an unknown `fusion`, or `depths` that are not two numbers from 1 on.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        interactions: Sequence[Interaction],
        depths: Sequence[int] = (1, 3),
        inner: int | None = None,
        fusion: str = "sum",
    ) -> None:
        super().__init__()
        if fusion not in FUSIONS:
            raise ValueError(f"MODEL.MSINET.FUSION is {fusion!r}; choose one of {', '.join(FUSIONS)}")
        if len(depths) != 2 or not all(isinstance(depth, int) and depth >= 1 for depth in depths):
            raise ValueError(f"MODEL.MSINET.DEPTHS is {list(depths)}; it takes two whole numbers, each at least 1")
        self.fusion = fusion
        inner = out_channels // 4 if inner is None else inner
        self.entries = nn.ModuleList(conv1x1(in_channels, inner) for _ in depths)
        self.first = nn.ModuleList(_branch(inner, depth) for depth in depths)
        self.interaction1 = interactions[0](inner)
        self.second = nn.ModuleList(_branch(inner, depth) for depth in depths)
        self.interaction2 = interactions[1](inner)
        self.exits = nn.ModuleList(conv1x1(inner, out_channels, relu=False) for _ in depths)
        widens = in_channels != out_channels
        self.shortcut = conv1x1(in_channels, out_channels, relu=False) if widens else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = (entry(x) for entry in self.entries)
        x1, x2 = self.interaction1(self.first[0](x1), self.first[1](x2))
        x1, x2 = self.interaction2(self.second[0](x1), self.second[1](x2))
        fused = FUSIONS[self.fusion](self.exits[0](x1), self.exits[1](x2))
        y: Tensor = self.relu(fused.add_(self.shortcut(x)))
        return y

    def for_inference(self) -> nn.Module:
        """The cell with its last convolutions in one, if its batch norms are folded and its fusion is linear."""
        # What a subclass computes may be something else.
        return InferenceCell(self) if type(self) is MSICell and can_merge(self) else self


def _branch(channels: int, depth: int) -> nn.Sequential:
    return nn.Sequential(*(light_conv3x3(channels) for _ in range(depth)))
