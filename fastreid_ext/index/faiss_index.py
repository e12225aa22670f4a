"""Approximate search, by faiss."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.functional.distances import Metric
from fastreid_ext.index.base import Index, Kind, Vectors
from fastreid_ext.index.engine import faiss_module, faiss_threads
from fastreid_ext.index.rows import Rows, blocks, check_shape, prepared, query_rows
from fastreid_ext.index.saved import write_faiss

__all__ = ["FaissIndex"]


class FaissIndex(Index):
    """An index of faiss that is trained. `build_index` and `load_index` make them.

    Args:
        searcher: the index of faiss; it takes ids.
        kind: of it.
        metric: of the distances.
        threads: of faiss; None for as many as torch has.
        read_only: it lies in a file.
    """

    def __init__(
        self, searcher: Any, kind: Kind, metric: Metric, *, threads: int | None = None, read_only: bool = False
    ) -> None:
        super().__init__(searcher.d, metric)
        self.kind, self.threads = kind, threads
        self._searcher, self._read_only = searcher, read_only

    def __len__(self) -> int:
        return int(self._searcher.ntotal)

    @property
    def effort(self) -> int:
        """What a search looks at: lists of "ivf" and "ivfpq" (nprobe), candidates of "hnsw" (efSearch)."""
        return int(self._graph.efSearch if self.kind == "hnsw" else self._searcher.nprobe)

    @effort.setter
    def effort(self, value: int) -> None:
        if self.kind == "hnsw":
            self._graph.efSearch = value
        else:
            self._searcher.nprobe = value

    @property
    def most_effort(self) -> int:
        """Beyond it there is nothing to look at."""
        return max(1, len(self)) if self.kind == "hnsw" else int(self._searcher.nlist)

    def add(self, vectors: Vectors) -> None:
        check_shape(vectors, self.dim)
        self._writable()
        # A whole pass before the first is added: half of the vectors would be worse than none.
        for rows in blocks(vectors):
            prepared(vectors[rows], self.metric, first=rows.start)
        first = len(self)
        for rows in blocks(vectors):
            self.add_with_ids(vectors[rows], np.arange(first + rows.start, first + rows.stop))

    def add_with_ids(self, rows: Any, ids: NDArray[np.int64]) -> None:
        """Takes vectors in another order than that of their ids.

        Shape:
            rows: (n, dim). ids: (n,).

        Raises:
            ValueError: vectors are not finite, or the index lies in a file.
        """
        self._writable()
        with faiss_threads(self.threads):
            self._searcher.add_with_ids(prepared(rows, self.metric), ids)

    def search(self, queries: Tensor | NDArray[np.floating[Any]], k: int) -> tuple[Tensor, Tensor]:
        return self.candidates(queries, k, least=k)

    def candidates(self, queries: Tensor | NDArray[np.floating[Any]], k: int, *, least: int) -> tuple[Tensor, Tensor]:
        """As `search`, and as few as `least` will do: where lists hold fewer, more of them are searched.

        Shape:
            queries: (Q, dim). Result: (Q, k), float32; (Q, k), int64.

        Raises:
            ValueError: see `search`.
        """
        rows = query_rows(queries, self.dim, self.metric, k)
        if not len(rows):
            return torch.empty(0, k), torch.empty(0, k, dtype=torch.int64)
        effort, last = self.effort, min(least, len(self)) - 1
        found, places = self._searched(rows, k, effort)
        while self.kind != "hnsw" and effort < self.most_effort and (short := places[:, last] < 0).any():
            effort = min(2 * effort, self.most_effort)
            found[short], places[short] = self._searched(rows[short], k, effort)
        ids = torch.from_numpy(places)
        distances = torch.from_numpy(found)
        if self.metric == "cosine":
            distances = 1 - distances
        return distances.clamp_min_(0).masked_fill_(ids < 0, torch.inf), ids

    def _searched(self, rows: Rows, k: int, effort: int) -> tuple[NDArray[Any], NDArray[Any]]:
        kept = self.effort
        # Not as an argument of the search: faiss.contrib.torch_utils, which other packages import, takes none.
        if effort != kept:
            self.effort = effort
        try:
            # Faiss shares out queries: threads beyond their number would but wait, which they do busily.
            with faiss_threads(self.threads, most=len(rows)):
                found, places = self._searcher.search(rows, k)
        finally:
            if effort != kept:
                self.effort = kept
        return found, places

    def save(self, path: str | os.PathLike[str]) -> None:
        write_faiss(path, self._searcher)

    @property
    def bytes_per_vector(self) -> float:
        """Of codes or vectors, ids, links and centroids."""
        if self.kind == "hnsw":
            links = self._graph.neighbors.size() * 4 + self._graph.offsets.size() * 8 + self._graph.levels.size() * 4
            return float(4 * self.dim + 8 + links / max(1, len(self)))
        centroids = 4 * self.dim * self._searcher.nlist
        return float(self._searcher.code_size + 8 + centroids / max(1, len(self)))

    @property
    def _graph(self) -> Any:
        return faiss_module().downcast_index(self._searcher.index).hnsw

    def _writable(self) -> None:
        # Faiss would end the process.
        if self._read_only:
            raise ValueError("the index is memory-mapped and takes no vectors: load it with mmap=False")
