"""What all indices have in common."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.functional.distances import Metric, check_metric

__all__ = ["Index", "IndexFileError", "Kind", "Vectors"]

Kind = Literal["flat", "ivf", "hnsw", "ivfpq"]


class Vectors(Protocol):
    """A matrix (N, D) of floating-point numbers of which rows are read: a tensor, an array, a memory-mapped file."""

    @property
    def shape(self) -> Any: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


class IndexFileError(ValueError):
    """A file of an index that cannot be used."""


class Index(ABC):
    """Vectors, and which of them are nearest to a query. The id of a vector is its place in the order of adding.

    Attributes:
        kind: how it searches.
        metric: of the distances: "cosine" is one minus the cosine, "euclidean" squared, as everywhere in ranking.
        dim: of the vectors.
        recall: share of the 10 nearest that it found for vectors of the set which it did not hold yet; None where that
            was not measured, or there is nothing to measure.
    """

    kind: Kind
    recall: float | None = None

    def __init__(self, dim: int, metric: Metric) -> None:
        check_metric(metric)
        self.dim, self.metric = dim, metric

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def add(self, vectors: Vectors) -> None:
        """Takes more vectors, which are read in blocks.

        Shape:
            vectors: (n, dim).

        Raises:
            ValueError: they do not fit or are not finite; none of them is added then.
        """

    @abstractmethod
    def search(self, queries: Tensor | NDArray[np.floating[Any]], k: int) -> tuple[Tensor, Tensor]:
        """The k nearest vectors of each query, nearest first: distances and ids.

        Where fewer are found, distances are Inf and ids -1.

        Shape:
            queries: (Q, dim).
            Result: (Q, k), float32; (Q, k), int64.

        Raises:
            ValueError: queries do not fit or are not finite, or k is below 1.
        """

    @abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file of faiss, whole or not at all; `load_index` reads it."""

    @property
    @abstractmethod
    def bytes_per_vector(self) -> float:
        """Of memory or, memory-mapped, of file; of everything that the index keeps."""
