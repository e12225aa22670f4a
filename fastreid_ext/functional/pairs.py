"""Which pairs of a batch share an identity, and reductions over some entries only.

The reductions take no part of the data to the host and are defined, with a gradient, where nothing is selected.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["masked_logsumexp", "masked_mean", "masked_softmax", "pair_masks"]


def pair_masks(pids: Tensor) -> tuple[Tensor, Tensor]:
    """Positive and negative pairs of a batch. No image is a positive of itself.

    Shape:
        pids: (B,).
        Results: positive (B, B), negative (B, B), boolean.
    """
    same = pids[:, None] == pids
    itself = torch.eye(len(pids), dtype=torch.bool, device=pids.device)
    return same & ~itself, ~same


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the selected values; 0 when none is selected.

    Shape:
        values: any, finite. mask: that of `values`, boolean.
        Result: scalar.
    """
    return torch.where(mask, values, 0).sum() / mask.sum().clamp_min(1)


def masked_logsumexp(values: Tensor, mask: Tensor) -> Tensor:
    """Logarithm of the sum of exponentials of each row's selected values; of rows without one, the lowest number.

    Shape:
        values: (N, M). mask: (N, M), boolean.
        Result: (N,).
    """
    return torch.where(mask, values, torch.finfo(values.dtype).min).logsumexp(1)


def masked_softmax(values: Tensor, mask: Tensor) -> Tensor:
    """Softmax over each row's selected values; 0 elsewhere.

    Shape:
        values: (N, M). mask: (N, M), boolean.
        Result: (N, M).
    """
    return torch.where(mask, torch.where(mask, values, torch.finfo(values.dtype).min).softmax(1), 0)
