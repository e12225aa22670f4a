"""The order of distances, by one matrix product."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.functional.distances import Metric

__all__ = ["common_part", "in_order_of_distance"]

# The differences of so many rows, of some thousand numbers each, stay in a processor's cache.
_ROWS = 512


@torch.no_grad()
def in_order_of_distance(queries: Tensor, keys: Tensor, metric: Metric = "euclidean") -> Tensor:
    """Numbers that order each query's keys as their distances do.

    Of Euclidean distances they are the squares, less what is the same for all keys of a query. All is measured from
    what the queries have in common: where that is most of what they are, it would leave few digits for what they differ
    in.

    Args:
        queries: of unit length for "cosine".
        keys: of unit length for "cosine".
        metric: "euclidean", or "cosine" for the negative inner product.

    Shape:
        queries: (Q, D), Q above 0. keys: (M, D), of the same type.
        Result: (Q, M).
    """
    with torch.autocast(queries.device.type, enabled=False):
        if metric == "cosine":
            return -(queries @ keys.T)
        centre = common_part(queries)
        lengths = [(keys[start : start + _ROWS] - centre).square_().sum(1) for start in range(0, len(keys), _ROWS)]
        return torch.addmm(torch.cat(lengths), queries - centre, keys.T, alpha=-2)


@torch.no_grad()
def common_part(rows: Tensor) -> Tensor:
    """The mean of rows, rounded to multiples of a power of two that is as large as their spread.

    Rounded so, it can be taken off without loss from numbers that have few digits, and equal distances stay equal.

    Shape:
        rows: (N, D), N above 0.
        Result: (D,).
    """
    mean = rows.mean(0)
    spread = (rows - mean).square().mean().sqrt()
    step = torch.ldexp(torch.ones_like(spread), torch.frexp(spread).exponent)
    return torch.where(spread > 0, (mean / step).round() * step, mean)
