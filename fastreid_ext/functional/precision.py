"""Sums and exponentials need at least float32, whatever type the network computes in."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["widen"]


def widen(x: Tensor) -> Tensor:
    """Half precision as float32, wider types as they are.

    Shape:
        x: any.
        Result: that of `x`.
    """
    return x.to(torch.promote_types(x.dtype, torch.float32))
