"""Candidates of codes, ranked by the vectors themselves."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.index.base import Index, Vectors
from fastreid_ext.index.exact import ExactIndex
from fastreid_ext.index.faiss_index import FaissIndex
from fastreid_ext.index.rows import query_rows

__all__ = ["RefinedIndex"]

_QUERIES = 256


class RefinedIndex(Index):
    """An index of codes with, beside it, the vectors: in a memory-mapped file, for example.

    Of a query's candidates only, vectors are read. Distances are exact, and so is the order of what was found.

    Args:
        codes: finds the candidates.
        vectors: the same vectors with the same ids.
        width: candidates for each neighbour that is asked for.
    """

    def __init__(self, codes: FaissIndex, vectors: ExactIndex, *, width: int = 8) -> None:
        super().__init__(codes.dim, codes.metric)
        self.kind, self.codes, self.vectors, self.width = codes.kind, codes, vectors, width

    def __len__(self) -> int:
        return len(self.codes)

    def add(self, vectors: Vectors) -> None:
        self.codes.add(vectors)
        self.vectors.add(vectors)

    def search(self, queries: Tensor | NDArray[np.floating[Any]], k: int) -> tuple[Tensor, Tensor]:
        rows = query_rows(queries, self.dim, self.metric, k)
        distances, ids = np.full((len(rows), k), np.inf, np.float32), np.full((len(rows), k), -1)
        for start in range(0, len(rows), _QUERIES):
            part = slice(start, start + _QUERIES)
            _, found = self.codes.candidates(rows[part], min(k * self.width, max(k, len(self))), least=k)
            # Ids first, so that the stable sort puts equal distances in their order.
            candidates = np.sort(found.numpy(), axis=1)
            exact = self.vectors.distances(rows[part], candidates)
            nearest = exact.argsort(axis=1, kind="stable")[:, :k]
            distances[part] = np.take_along_axis(exact, nearest, 1)
            ids[part] = np.take_along_axis(candidates, nearest, 1)
        return torch.from_numpy(distances), torch.from_numpy(ids)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the codes; vectors stay where they are."""
        self.codes.save(path)

    @property
    def bytes_per_vector(self) -> float:
        """Of the codes: vectors are not the index's own."""
        return self.codes.bytes_per_vector
