"""Exact search: every query is compared with every vector."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.functional.distances import Metric
from fastreid_ext.functional.precision import full_precision
from fastreid_ext.index.base import Index, Vectors
from fastreid_ext.index.neighbour_kernels import offer_tile
from fastreid_ext.index.rows import (
    Rows,
    as_float32,
    blocks,
    check_shape,
    divisors,
    prepared,
    query_rows,
    squared_lengths,
    tensor,
)
from fastreid_ext.index.saved import write_flat

__all__ = ["ExactIndex"]

_QUERIES = 256


class ExactIndex(Index):
    """Searches vectors where they are, in memory or in a file, without a copy of them; needs no other package.

    Neighbours at one distance come in the order of their ids. Many queries
    at a time take less than one by one: vectors are read once.

    Args:
        vectors: the first ones; they must not change.
        metric: of the distances.
        check: whether vectors may be anything; without, their lengths are measured when they are first compared.

    Shape:
        vectors: (N, D).

    Raises:
        ValueError: vectors are no matrix or not finite.
    """

    kind = "flat"

    def __init__(self, vectors: Vectors, metric: Metric = "cosine", *, check: bool = True) -> None:
        check_shape(vectors)
        super().__init__(vectors.shape[1], metric)
        self._parts: list[_Part] = []
        self._append(vectors, check)

    def __len__(self) -> int:
        return sum(len(part) for part in self._parts)

    def add(self, vectors: Vectors) -> None:
        check_shape(vectors, self.dim)
        self._append(vectors, True)

    @torch.inference_mode(False)
    @torch.no_grad()
    def search(self, queries: Tensor | NDArray[np.floating[Any]], k: int) -> tuple[Tensor, Tensor]:
        rows = query_rows(queries, self.dim, self.metric, k)
        # Numbers of the lists' ends until something takes their place.
        distances = np.full((len(rows), k), np.inf, np.float32)
        ids = np.full((len(rows), k), np.iinfo(np.int64).max)
        limits = np.full(len(rows), np.inf, np.float32)
        with full_precision("cpu"):
            for first, block, measures in self._blocks():
                for start in range(0, len(rows), _QUERIES):
                    tile = _distances(rows[start : start + _QUERIES], block, measures, self.metric)
                    offer_tile(tile, start, first, False, distances, ids, limits)
        ids[np.isinf(distances)] = -1
        return torch.from_numpy(distances), torch.from_numpy(ids)

    def distances(self, queries: Rows, ids: NDArray[np.int64]) -> Rows:
        """Of each query to some vectors; Inf for id -1.

        On one thread: so little is done before those of torch or BLAS have woken, which then are in the way of faiss'.

        Shape:
            queries: (Q, dim), as `query_rows` makes them. ids: (Q, c). Result: (Q, c), float32.
        """
        wanted, places = np.unique(ids.clip(0), return_inverse=True)
        places = places.reshape(ids.shape)
        rows = self._take(wanted)
        products = np.stack(
            [np.einsum("cd,d->c", rows[place], query) for query, place in zip(queries, places, strict=True)]
        )
        distances = _to_distances(products, queries, _measured(rows, self.metric)[places], self.metric)
        return np.where(ids < 0, np.float32(np.inf), distances)

    def save(self, path: str | os.PathLike[str]) -> None:
        write_flat(path, self.dim, self.metric, (prepared(block, self.metric) for _, block, _ in self._blocks()))

    @property
    def bytes_per_vector(self) -> float:
        """Of the vectors, which are not the index's own, and of the length of each."""
        number = sum(_itemsize(part.vectors) * len(part) for part in self._parts)
        return self.dim * number / max(1, len(self)) + 4

    def _append(self, vectors: Vectors, check: bool) -> None:
        part = _Part(vectors, self.metric)
        if check:
            for _ in part.blocks():
                pass
        if len(part):
            self._parts.append(part)

    def _take(self, ids: NDArray[np.int64]) -> Rows:
        """Vectors of ascending ids."""
        rows, first = [np.empty((0, self.dim), np.float32)], 0
        for part in self._parts:
            start, stop = np.searchsorted(ids, [first, first + len(part)])
            if stop > start:
                rows.append(as_float32(part.vectors[ids[start:stop] - first]))
            first += len(part)
        return np.concatenate(rows)

    def _blocks(self) -> Iterator[tuple[int, Rows, Rows]]:
        """Some megabytes of vectors at a time, with the id of the first and their measures."""
        first = 0
        for part in self._parts:
            for start, rows, measures in part.blocks():
                yield first + start, rows, measures
            first += len(part)


class _Part:
    """Vectors that were added together, and their measures: one over the length for "cosine", else its square."""

    def __init__(self, vectors: Vectors, metric: Metric) -> None:
        # NumPy reads few rows of a tensor's memory without a team of threads.
        self.vectors: Any = vectors
        if isinstance(vectors, Tensor) and vectors.device.type == "cpu" and vectors.dtype != torch.bfloat16:
            self.vectors = vectors.detach().numpy()
        self._metric = metric
        # Not a number where it was not needed yet.
        self._measures = np.full(vectors.shape[0], np.nan, np.float32)

    def __len__(self) -> int:
        return len(self._measures)

    def blocks(self) -> Iterator[tuple[int, Rows, Rows]]:
        for place in blocks(self.vectors):
            rows, measures = as_float32(self.vectors[place]), self._measures[place]
            if np.isnan(measures[-1]):
                measures[:] = _measured(rows, self._metric, first=place.start)
            yield place.start, rows, measures


def _measured(rows: Rows, metric: Metric, *, first: int = 0) -> Rows:
    squares = squared_lengths(rows, first=first)
    return np.asarray(1 / divisors(squares) if metric == "cosine" else squares, np.float32)


def _distances(queries: Rows, block: Rows, measures: Rows, metric: Metric) -> Rows:
    products: Rows = (tensor(queries) @ tensor(block).T).numpy()
    return _to_distances(products, queries, measures, metric)


def _to_distances(products: Rows, queries: Rows, measures: Rows, metric: Metric) -> Rows:
    """In the memory of the products."""
    if metric == "cosine":
        products *= measures
        np.subtract(1, products, out=products)
    else:
        products *= -2
        products += np.einsum("qd,qd->q", queries, queries)[:, None]
        products += measures
    return np.maximum(products, 0, out=products)


def _itemsize(vectors: Vectors) -> int:
    return int(np.dtype(str(getattr(vectors, "dtype", "float32")).removeprefix("torch.")).itemsize)
