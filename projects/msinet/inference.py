"""The cell of a trained network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from fastreid_ext.projects.msinet.cell import MSICell

__all__ = ["InferenceCell", "can_merge"]

SIGNS = {"sum": 1.0, "minus": -1.0}
"""Of the second branch, for the fusions that are linear."""


class InferenceCell(nn.Module):
    """An `MSICell` whose last convolutions are one, over the channels of both branches and of a widened input.

    Args:
        cell: its layers are taken over; `can_merge` must hold.

    Shape:
        x: (B, in_channels, h, w).
        returns: (B, out_channels, h, w).
    """

    def __init__(self, cell: MSICell) -> None:
        super().__init__()
        self.entries, self.first, self.second = cell.entries, cell.first, cell.second
        self.interaction1, self.interaction2 = cell.interaction1, cell.interaction2
        self.relu = cell.relu
        self.widens = not isinstance(cell.shortcut, nn.Identity)
        parts = [*cell.exits, *([cell.shortcut] if self.widens else [])]
        self.exit = _merged([next(part.children()) for part in parts], [1.0, SIGNS[cell.fusion], 1.0])

    def forward(self, x: Tensor) -> Tensor:
        x1, x2 = (entry(x) for entry in self.entries)
        x1, x2 = self.interaction1(self.first[0](x1), self.first[1](x2))
        x1, x2 = self.interaction2(self.second[0](x1), self.second[1](x2))
        y: Tensor = self.exit(torch.cat((x1, x2, x) if self.widens else (x1, x2), dim=1))
        activated: Tensor = self.relu(y if self.widens else y.add_(x))
        return activated


def can_merge(cell: MSICell) -> bool:
    """Whether the cell's last convolutions add up to one: a linear fusion, batch norms folded."""
    parts = [*cell.exits, *([] if isinstance(cell.shortcut, nn.Identity) else [cell.shortcut])]
    folded = all([type(layer) for layer in part.children()] == [nn.Conv2d, nn.Identity] for part in parts)
    return cell.fusion in SIGNS and folded


def _merged(layers: list[nn.Module], signs: list[float]) -> nn.Conv2d:
    """One convolution for the sum of several, each with a factor, over the channels that they take one by one."""
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    signed = list(zip(convolutions, signs[: len(layers)], strict=True))
    weight = torch.cat([sign * convolution.weight for convolution, sign in signed], dim=1)
    biases = [sign * convolution.bias for convolution, sign in signed if convolution.bias is not None]
    merged = nn.Conv2d(weight.shape[1], weight.shape[0], 1, bias=bool(biases)).requires_grad_(False).to(weight)
    merged.weight.copy_(weight)
    if merged.bias is not None:
        merged.bias.copy_(torch.stack(biases).sum(0))
    return merged
