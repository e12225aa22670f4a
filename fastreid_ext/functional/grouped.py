"""Reductions over the rows of an identity, whatever their order and number, without asking the device for anything."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["first_of_each", "grouped_logsumexp"]


def first_of_each(same: Tensor) -> Tensor:
    """The first row of each row's group: a number that the rows of a group share, and no others.

    Shape:
        same: (B, B), boolean; which rows belong together.
        Result: (B,), in [0, B).
    """
    places = torch.arange(len(same), device=same.device)
    return torch.where(same, places, len(same)).amin(1)


def grouped_logsumexp(values: Tensor, groups: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials over each group, at the place of its number; elsewhere the lowest number.

    Shape:
        values: (B,). groups: (B,), in [0, B).
        Result: (B,).
    """
    lowest = torch.full_like(values, torch.finfo(values.dtype).min)
    largest = lowest.scatter_reduce(0, groups, values.detach(), "amax")
    sums = torch.zeros_like(values).index_add(0, groups, (values - largest[groups]).exp())
    return largest + torch.where(sums > 0, sums, 1).log()
