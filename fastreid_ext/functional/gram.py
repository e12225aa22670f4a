"""Similarities of all pairs of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["gram_matrix"]


def gram_matrix(rows: Tensor) -> Tensor:
    """Inner products of all pairs of rows: two matrix products with the backward pass, where `x @ x.T` takes three.

    Shape:
        rows: (B, D).
        Result: (B, B).
    """
    result: Tensor = _Gram.apply(rows)  # type: ignore[no-untyped-call]
    return result


class _Gram(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        return rows @ rows.T

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # torch's says Any
        (rows,) = ctx.saved_tensors
        # backward() may be called inside of autocast, where the product would lose what the loss was careful about.
        with torch.autocast(rows.device.type, enabled=False):
            of_rows: Tensor = (gradient + gradient.T) @ rows
        return of_rows
