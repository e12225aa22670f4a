"""Distances between rows of two matrices, with gradients."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from fastreid_ext.functional.precision import wide_type, widen

__all__ = [
    "SHORTEST_DIRECTION",
    "Metric",
    "check_metric",
    "cosine_distance",
    "direction_divisors",
    "euclidean_distance",
    "normalize",
    "pairwise_distance",
]

Metric = Literal["cosine", "euclidean"]

SHORTEST_DIRECTION = 1e-12
"""Length up to which a row has no direction."""


def check_metric(metric: str) -> None:
    """Refuses an unknown metric.

    Raises:
        ValueError: the metric is neither "cosine" nor "euclidean".
    """
    if metric not in get_args(Metric):
        raise ValueError(f"unknown metric '{metric}': choose one of {', '.join(get_args(Metric))}.")


def normalize(x: Tensor) -> Tensor:
    """Scales each row to unit Euclidean length.

    Rows shorter than 1e-12 have no direction and are left as they are, so value and gradient are finite at zero.
    Half precision is computed in float32 and rounded once.

    Shape:
        x: (..., D).
        Result: (..., D), the type of `x`.
    """
    wide = widen(x)
    lengths = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
    return (wide / direction_divisors(lengths)).to(x.dtype)


def direction_divisors(lengths: Tensor) -> Tensor:
    """What `normalize` divides rows of these lengths by: 1 where there is no direction.

    Shape:
        lengths: any.
        Result: that of `lengths`.
    """
    return torch.where(lengths > SHORTEST_DIRECTION, lengths, 1)


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """One minus the cosine of the angle between every row of `a` and every row of `b`; 1 for a zero row.

    Half precision gives float32, also under autocast.

    Shape:
        a: (N, D). b: (M, D).
        Result: (N, M), in [0, 2] up to rounding.
    """
    a, b = _widened(a, b)
    with torch.autocast(a.device.type, enabled=False):
        return 1 - normalize(a) @ normalize(b).T


def euclidean_distance(a: Tensor, b: Tensor, squared: bool = False) -> Tensor:
    """Euclidean distance between every row of `a` and every row of `b`, through one matrix product.

    The gradient of the root is taken as 0 at distance zero, where it does not exist. Half precision gives float32, also
    under autocast.

    Shape:
        a: (N, D). b: (M, D).
        Result: (N, M), not negative.
    """
    a, b = _widened(a, b)
    with torch.autocast(a.device.type, enabled=False):
        product = a @ b.T
    squares = (a.square().sum(1, keepdim=True) + b.square().sum(1) - 2 * product).clamp_min(0)
    if squared:
        return squares
    # Not `> 0`, which would make 0 of what is not a number.
    apart = squares != 0
    return torch.where(apart, torch.where(apart, squares, 1).sqrt(), 0)


def pairwise_distance(a: Tensor, b: Tensor, metric: Metric = "cosine") -> Tensor:
    """`cosine_distance` or `euclidean_distance` by name.

    Shape:
        a: (N, D). b: (M, D).
        Result: (N, M).

    Raises:
        ValueError: the metric is unknown.
    """
    check_metric(metric)
    return cosine_distance(a, b) if metric == "cosine" else euclidean_distance(a, b)


def _widened(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    dtype = wide_type(torch.promote_types(a.dtype, b.dtype))
    return a.to(dtype), b.to(dtype)
