"""Two logarithms of sums over each row of a matrix: of some entries with one sign, of the others with the other."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["opposed_logsumexp"]


def opposed_logsumexp(values: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Log-sum-exp of each row's chosen values, negated, and log-sum-exp of its other values.

    Every entry is in one of the two, so that one exponential of it serves both and the gradient. A sum over nothing is
    the lowest number, with gradient 0. Gradients of gradients are refused.

    Shape:
        values: (N, M). chosen: (N, M), boolean.
        Results: (N,), (N,).
    """
    result: tuple[Tensor, Tensor] = _Opposed.apply(values, chosen)  # type: ignore[no-untyped-call]
    return result


class _Opposed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        lowest = torch.finfo(values.dtype).min
        signed = torch.where(chosen, -values, values)
        largest = [torch.where(mask, signed, lowest).amax(1, keepdim=True) for mask in (chosen, ~chosen)]
        exponentials = signed.sub_(torch.where(chosen, largest[0], largest[1])).exp_()
        totals = [torch.where(mask, exponentials, 0).sum(1, keepdim=True) for mask in (chosen, ~chosen)]
        # Without any entry, the logarithm of 1 leaves the lowest number.
        totals = [torch.where(total > 0, total, 1) for total in totals]
        ctx.save_for_backward(exponentials, chosen, *totals)
        of_chosen, of_others = ((top + total.log()).squeeze(1) for top, total in zip(largest, totals, strict=True))
        return of_chosen, of_others

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_chosen: Tensor, of_others: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        exponentials, chosen, total_chosen, total_others = ctx.saved_tensors
        weights = torch.where(chosen, -of_chosen[:, None] / total_chosen, of_others[:, None] / total_others)
        return exponentials * weights, None
