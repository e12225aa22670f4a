"""Distances for ranking: blocks of a matrix that is too large to hold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fastreid_ext.functional.distances import Metric, check_metric, direction_divisors
from fastreid_ext.functional.precision import full_precision, wide_type

__all__ = ["DistanceRows"]

_PART_ELEMENTS = 2**22
# Products of this many columns at a time stay in a core's cache until they are distances.
_CPU_COLUMNS = 1024


class DistanceRows:
    """Rows of the distance matrix on demand: `DistanceRows(queries, gallery)[0:64]`.

    What depends on one feature alone is computed once, and no copy of the features is made. "euclidean" gives *squared*
    distances, which rank alike and keep apart what the root would round together. Half precision is widened to float32
    piece by piece. No gradients.

    Attributes:
        shape: number of queries and of gallery features.

    Shape:
        queries: (Q, D). gallery: (G, D).
        A slice [start:stop]: (stop - start, G), a new tensor that the caller may write to.

    Raises:
        ValueError: the metric is unknown, or features are too large for it.
    """

    def __init__(self, queries: Tensor, gallery: Tensor, metric: Metric = "cosine") -> None:
        check_metric(metric)
        self.queries, self.gallery, self.metric = queries.detach(), gallery.detach(), metric
        self.shape = len(queries), len(gallery)
        self._type = wide_type(gallery.dtype)
        measure = _lengths if metric == "cosine" else _squares
        of_gallery = self._measured(self.gallery, measure)
        of_queries = of_gallery if gallery is queries else self._measured(self.queries, measure)
        largest = max((float(x.amax()) for x in (of_gallery, of_queries) if len(x)), default=0.0)
        # No distance is more than four times a squared length.
        if not 4 * largest <= torch.finfo(self._type).max:
            raise ValueError("features are so large that distances between them overflow: scale them down.")
        if metric == "cosine":
            self._factors = -direction_divisors(of_queries).reciprocal()
            self._of_gallery = direction_divisors(of_gallery).reciprocal()
        else:
            self._factors = torch.full_like(of_queries, -2)
            self._of_queries, self._of_gallery = of_queries, of_gallery

    def __getitem__(self, rows: slice) -> Tensor:
        return self.rows(rows)

    def rows(self, rows: slice, out: Tensor | None = None) -> Tensor:
        """Distances of some queries to the whole gallery, written to `out` where it is given.

        Shape:
            out: (b, G), float32 or float64 as the features need, for a slice of b queries.
            Result: (b, G).
        """
        if out is None:
            start, stop, _ = rows.indices(len(self.queries))
            out = self.gallery.new_empty(max(0, stop - start), len(self.gallery), dtype=self._type)
        scaled = self.scaled(rows)
        step = _CPU_COLUMNS if out.device.type == "cpu" else max(1, len(self.gallery))
        for start in range(0, len(self.gallery), step):
            columns = slice(start, start + step)
            self.tile(scaled, rows, columns, out[:, columns])
        return out

    def scaled(self, rows: slice) -> Tensor:
        """What `tile` wants of some queries: worth keeping for several tiles.

        Shape:
            Result: (b, D), float32 or float64, for a slice of b queries.
        """
        return self.queries[rows].to(self._type) * self._factors[rows, None]

    def tile(self, scaled: Tensor, rows: slice, columns: slice, out: Tensor) -> Tensor:
        """Distances of some queries to a part of the gallery, written to `out`.

        Args:
            scaled: `scaled(rows)`.
            rows: the queries.
            columns: the gallery features.
            out: takes the distances.

        Shape:
            scaled: (b, D). out: (b, c), of the type of `scaled`, for slices of b queries and c gallery features.
            Result: (b, c), `out`.
        """
        with full_precision(out.device.type):
            torch.mm(scaled, self.gallery[columns].to(self._type).T, out=out)
        if self.metric == "cosine":
            return out.mul_(self._of_gallery[columns]).add_(1)
        return out.add_(self._of_gallery[columns]).add_(self._of_queries[rows, None]).clamp_min_(0)

    def _measured(self, features: Tensor, measure: Callable[[Tensor], Tensor]) -> Tensor:
        step = max(1, _PART_ELEMENTS // max(1, features.shape[1]))
        return torch.cat([measure(part.to(self._type)) for part in torch.split(features, step)])


def _lengths(features: Tensor) -> Tensor:
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1)
    return lengths


def _squares(features: Tensor) -> Tensor:
    # Not the square of a root: distances of copies would be further from zero.
    return features.square().sum(1)
