"""Squeeze-and-excitation."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["SELayer"]


class SELayer(nn.Module):
    """Scales each channel by a gate in (0, 1) that sees the mean of all channels (Hu et al., CVPR 2018).

    Shape:
        x: (B, C, h, w).
        returns: as `x`.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        gates: Tensor = self.fc(x.mean(dim=(2, 3)))
        return x * gates[:, :, None, None]
