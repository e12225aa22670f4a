"""Which images of a batch are labelled."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["draw_anchors"]


def draw_anchors(pids: Tensor, number: int) -> Tensor:
    """A random choice of `number` images of each identity; one of its images is always left out.

    Shape:
        pids: (B,).
        Result: (B,), boolean.
    """
    same = pids[:, None] == pids
    places = torch.rand(len(pids), device=pids.device).argsort()
    before = (same & (places < places[:, None])).sum(1)
    return before < (same.sum(1) - 1).clamp(max=number)
