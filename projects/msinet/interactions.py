"""What the two branches of a cell tell each other (section 3.2 of the paper)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastreid_ext.registry import Registry

__all__ = ["INTERACTIONS", "ChannelGate", "CrossAttention", "Exchange", "NoInteraction"]

INTERACTIONS = Registry("MSINet interaction")
"""Modules by genotype letter, called as `Interaction(channels)`: `(x1, x2) -> (y1, y2)`, each `(B, C, h, w)`."""

_SOURCE = "Gu et al. 2023, section 3.2"


@INTERACTIONS.register("N", source=_SOURCE)
class NoInteraction(nn.Module):
    """None: the features as they are.

    Shape:
        x1, x2: (B, C, h, w).
        returns: two of (B, C, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        return x1, x2


@INTERACTIONS.register("E", source=_SOURCE)
class Exchange(nn.Module):
    """Exchange: the branches swap their features.

    Shape:
        x1, x2: (B, C, h, w).
        returns: two of (B, C, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        return x2, x1


@INTERACTIONS.register("G", source=f"{_SOURCE}, eq. 4")
class ChannelGate(nn.Module):
    """Channel gate: one perceptron for both branches weighs the channels of each.

    Shape:
        x1, x2: (B, C, h, w).
        returns: two of (B, C, h, w).
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.mlp = nn.Sequential(
            nn.Conv2d(channels, hidden, 1), nn.ReLU(inplace=True), nn.Conv2d(hidden, channels, 1), nn.Sigmoid()
        )

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        means = torch.cat((x1.mean((2, 3), keepdim=True), x2.mean((2, 3), keepdim=True)))
        # To torch.export, `chunk` would fix the number of images.
        gate1, gate2 = self.mlp(means).unflatten(0, (2, -1))
        return x1 * gate1, x2 * gate2


@INTERACTIONS.register("A", source=_SOURCE)
class CrossAttention(nn.Module):
    """Cross attention: channels of one branch attend with the keys of the other.

    The energy of each branch is its own query times the other's key, a (C, C) matrix; the mask is
    softmax(max - energy), applied to the own value and added with a learned proportion that starts at zero.

    Shape:
        x1, x2: (B, C, h, w).
        returns: two of (B, C, h, w).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x1: Tensor, x2: Tensor) -> tuple[Tensor, Tensor]:
        flat1, flat2 = x1.flatten(2), x2.flatten(2)
        # A sum over all positions: too large for float16, too coarse in bfloat16.
        with torch.autocast(x1.device.type, enabled=False):
            # The energy of branch 2 is that of branch 1 transposed: one product serves both.
            energy = torch.bmm(flat1, flat2.mT) if flat1.dtype == torch.float64 else flat1.float() @ flat2.float().mT
        return self._attend(x1, flat1, energy), self._attend(x2, flat2, energy.mT)

    def _attend(self, x: Tensor, value: Tensor, energy: Tensor) -> Tensor:
        # softmax is invariant to the added maximum; subtracting the minimum is what keeps it finite.
        mask = (self.gamma * torch.softmax(-energy, dim=-1)).to(value.dtype)
        if x.is_contiguous():
            return torch.baddbmm(value, mask, value).view_as(x)
        # What lies channels last stays so: a product of positions by channels.
        rows = value.mT
        return torch.baddbmm(rows, rows, mask.mT).mT.view_as(x)
