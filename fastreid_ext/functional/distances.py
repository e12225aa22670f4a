"""Distances between rows of two matrices, for losses (with gradients) and for ranking (row block by row block)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Literal, get_args

import torch
from torch import Tensor

from fastreid_ext.functional.precision import wide_type, widen

__all__ = [
    "DistanceRows",
    "Metric",
    "check_metric",
    "cosine_distance",
    "euclidean_distance",
    "full_precision",
    "normalize",
    "pairwise_distance",
]

Metric = Literal["cosine", "euclidean"]

_SHORTEST = 1e-12
_CHUNK_ELEMENTS = 2**21


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
    return (wide / _divisors(wide)).to(x.dtype)


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
    apart = squares > 0
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


class DistanceRows:
    """Rows of the distance matrix on demand, for matrices too large to hold: `DistanceRows(queries, gallery)[0:64]`.

    What depends on the gallery alone is computed once, and no copy of the gallery is made. "euclidean" gives *squared*
    distances, which rank alike and keep apart what the root would round together. Half precision is widened to float32
    piece by piece. No gradients.

    Shape:
        queries: (Q, D). gallery: (G, D).
        A slice [start:stop]: (stop - start, G), a new tensor that the caller may write to.

    Raises:
        ValueError: the metric is unknown.
    """

    def __init__(self, queries: Tensor, gallery: Tensor, metric: Metric = "cosine") -> None:
        check_metric(metric)
        self.queries = queries.detach()
        self.gallery = gallery.detach()
        self.metric = metric
        self._type = wide_type(gallery.dtype)
        step = len(gallery) if gallery.dtype == self._type else _CHUNK_ELEMENTS // max(1, gallery.shape[1])
        self._step = max(1, step)
        lengths = _divisors if metric == "cosine" else partial(torch.linalg.vector_norm, dim=1)
        norms = torch.cat([lengths(piece) for piece in self._pieces()]).flatten()
        self._of_gallery = -norms.reciprocal() if metric == "cosine" else norms.square()

    def __getitem__(self, rows: slice) -> Tensor:
        with full_precision(self.gallery.device.type):
            queries = self.queries[rows].to(self._type)
            if self.metric == "cosine":
                return self._product(normalize(queries)).mul_(self._of_gallery).add_(1)
            lengths = queries.square().sum(1, keepdim=True)
            return self._product(-2 * queries).add_(self._of_gallery).add_(lengths).clamp_min_(0)

    def _product(self, queries: Tensor) -> Tensor:
        if self.gallery.dtype == self._type:
            return queries @ self.gallery.T
        # Written into one tensor: a list of products between the widened pieces would fragment the heap.
        product = queries.new_empty(len(queries), len(self.gallery))
        for part, piece in zip(torch.split(product, self._step, dim=1), self._pieces(), strict=True):
            part.copy_(queries @ piece.T)
        return product

    def _pieces(self) -> Iterator[Tensor]:
        return (piece.to(self._type) for piece in torch.split(self.gallery, self._step))


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Matrix products of float32 in float32: without autocast, TF32 or bfloat16 passes, whatever training uses."""
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(precision)


def _widened(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    dtype = wide_type(torch.promote_types(a.dtype, b.dtype))
    return a.to(dtype), b.to(dtype)


def _divisors(x: Tensor) -> Tensor:
    lengths = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return torch.where(lengths > _SHORTEST, lengths, 1)
