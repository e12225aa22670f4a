"""Rows of vectors, wherever they are, as faiss and BLAS want them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.functional.distances import SHORTEST_DIRECTION, Metric
from fastreid_ext.index.base import Vectors

__all__ = [
    "Rows",
    "as_float32",
    "blocks",
    "check_shape",
    "divisors",
    "prepared",
    "query_rows",
    "sample_ids",
    "squared_lengths",
    "tensor",
]

Rows = NDArray[np.float32]

_BLOCK_BYTES = 2**26


def check_shape(vectors: Vectors, dim: int | None = None) -> None:
    """Refuses what is no matrix, or one of other vectors.

    Raises:
        ValueError: it is not of shape (N, dim).
    """
    shape = tuple(vectors.shape)
    if len(shape) != 2 or not shape[1]:
        raise ValueError(f"vectors must be a matrix, a row for each; got shape {shape}.")
    if dim is not None and shape[1] != dim:
        raise ValueError(f"the index has vectors of {dim} dimensions; got some of {shape[1]}.")


def as_float32(rows: Any) -> Rows:
    """A tensor or an array of any floating-point type; a copy only where one is needed."""
    values = rows.detach().cpu().float().numpy() if isinstance(rows, Tensor) else np.asarray(rows)
    return np.ascontiguousarray(values, np.float32)


def squared_lengths(rows: Rows, *, first: int = 0) -> NDArray[np.float64]:
    """Of each row, in float64, where no square of a float32 overflows.

    Args:
        rows: (n, D).
        first: number of the first row, for errors.

    Raises:
        ValueError: a number is not finite.
    """
    squares = np.einsum("nd,nd->n", rows, rows, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(squares))
    if len(bad):
        raise ValueError(f"vectors hold NaN or Inf in {len(bad)} row(s), the first of which is {first + int(bad[0])}.")
    return np.asarray(squares)


def divisors(squares: NDArray[np.float64]) -> Rows:
    """What brings rows of these squared lengths to unit length; 1 for those without a direction."""
    lengths = np.sqrt(squares)
    return np.where(lengths > SHORTEST_DIRECTION, lengths, 1).astype(np.float32)


def prepared(rows: Any, metric: Metric, *, first: int = 0) -> Rows:
    """Rows as they are compared: for "cosine" of unit length, unless they have no direction.

    Args:
        rows: a tensor or an array, (n, D); it is not changed.
        metric: that they are compared by.
        first: number of the first row, for errors.

    Raises:
        ValueError: a number is not finite.
    """
    values = as_float32(rows)
    squares = squared_lengths(values, first=first)
    return values if metric == "euclidean" else np.asarray(values / divisors(squares)[:, None], np.float32)


def query_rows(queries: Any, dim: int, metric: Metric, k: int) -> Rows:
    """`prepared` queries.

    Raises:
        ValueError: they do not fit or are not finite, or k is below 1.
    """
    check_shape(queries, dim)
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}.")
    return prepared(queries, metric)


def blocks(vectors: Vectors) -> Iterator[slice]:
    """Slices of some megabytes that are all rows."""
    number, dim = vectors.shape
    step = max(1, _BLOCK_BYTES // (4 * dim))
    return (slice(start, min(start + step, number)) for start in range(0, number, step))


def sample_ids(number: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` of the ids below `number`, ascending, which files like; all if there are no more."""
    if size >= number:
        return np.arange(number)
    return np.sort(rng.choice(number, size, replace=False, shuffle=False)).astype(np.int64)


def tensor(rows: NDArray[Any]) -> Tensor:
    """The same memory as a tensor that is not written to."""
    with warnings.catch_warnings():
        # Files are mapped for reading.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(rows)
