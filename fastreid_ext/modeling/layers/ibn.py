"""Instance-batch normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.layers.norm import build_norm

__all__ = ["IBN"]


class IBN(nn.Module):
    """IBN-a: the first half of the channels is instance-normalised, the others by `norm` (Pan et al., ECCV 2018).

    Shape:
        x: (B, C, h, w).
        returns: as `x`.
    """

    def __init__(self, channels: int, norm: str = "BN") -> None:
        super().__init__()
        half = channels // 2
        self.IN = nn.InstanceNorm2d(half, affine=True)
        self.BN = build_norm(norm, channels - half)

    def forward(self, x: Tensor) -> Tensor:
        half = self.IN.num_features
        return torch.cat([self.IN(x[:, :half]), self.BN(x[:, half:])], dim=1)
