"""Position activations that an image gives itself, the supervision for its positives."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastreid_ext.functional.precision import full_precision, widen

__all__ = ["PositionActivation"]


class PositionActivation(nn.Module):
    """Largest energy of each position's query with the keys of all positions (PAM of Fig. 3).

    Whatever the type of the maps and under autocast, too, it computes in at least float32.

    Args:
        channels: of the maps.
        reduction: channels of the maps over those of queries and keys.
    """

    def __init__(self, channels: int, *, reduction: int = 8) -> None:
        super().__init__()
        width = max(1, channels // reduction)
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Conv2d(channels, width, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Activations of maps.

        Shape:
            maps: (B, C, h, w).
            Result: (B, h w).
        """
        positions = widen(maps).permute(0, 2, 3, 1).flatten(1, 2)
        with full_precision(maps.device.type):
            projected = positions @ self.projection(positions.dtype).mT
        return self.activations(projected)

    def projection(self, dtype: torch.dtype) -> Tensor:
        """Weights of queries and keys, for whoever multiplies positions with them.

        Shape:
            Result: (2 C / reduction, C).
        """
        return torch.cat([self.query.weight, self.key.weight]).flatten(1).to(dtype)

    def activations(self, projected: Tensor) -> Tensor:
        """The largest energies.

        Shape:
            projected: (B, N, 2 C / reduction), positions times `projection`.
            Result: (B, N).
        """
        assert self.query.bias is not None and self.key.bias is not None
        with full_precision(projected.device.type):
            bias = torch.cat([self.query.bias, self.key.bias]).to(projected.dtype)
            queries, keys = (projected + bias).chunk(2, dim=2)
            return (queries @ keys.mT).amax(2)
