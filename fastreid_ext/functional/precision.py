"""Sums and exponentials need at least float32, whatever type the network computes in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["wide_type", "widen"]


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision, wider types themselves."""
    return torch.promote_types(dtype, torch.float32)


def widen(x: Tensor) -> Tensor:
    """Half precision as float32, wider types as they are.

    Shape:
        x: any.
        Result: that of `x`.
    """
    return x.to(wide_type(x.dtype))
