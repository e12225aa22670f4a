"""How hard an index searches: as little as the recall asked for takes, measured with vectors that it has not seen."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from fastreid_ext.index.faiss_index import FaissIndex
from fastreid_ext.index.refined import RefinedIndex
from fastreid_ext.index.rows import Rows

__all__ = ["NEIGHBOURS", "Neighbours", "recall_at", "tune"]

NEIGHBOURS = 10
"""Of each query, by which recall is measured."""

Neighbours = tuple[Tensor, Tensor]
"""Distances and ids of the vectors that are nearest to each query."""

# Beyond these a search of the graph is slower than an exact one.
_MOST_CANDIDATES = 4096
_WIDTHS = (8, 32, 128)
# By which twice the effort must better the recall, or more candidates are what is missing.
_LEAST_GAIN = 0.002
# Of distances that two ways of computing them give.
_ROUNDING = 1e-5


def recall_at(found: Neighbours, truth: Neighbours) -> float:
    """Share of the true neighbours that were found; of several as far away as the last, any is a true one.

    Shape:
        found, truth: (Q, k) each.
    """
    last = truth[0][:, -1:]
    tied = (found[0] - last).abs() <= _ROUNDING * last.clamp_min(1)
    same = (found[1][:, :, None] == truth[1][:, None, :]).any(2)
    return float((tied | same).float().mean())


def tune(index: FaissIndex | RefinedIndex, queries: Rows, truth: Neighbours, target: float) -> float:
    """Sets what a search looks at, and returns the recall that it gives, which may be below the target.

    Args:
        index: to tune.
        queries: vectors like those that will be looked for.
        truth: their true neighbours.
        target: recall asked for.

    Shape:
        queries: (Q, D). truth: (Q, k) each.
    """
    neighbours = truth[1].shape[1]
    codes = index if isinstance(index, FaissIndex) else index.codes

    def measured(effort: int) -> float:
        codes.effort = effort
        return recall_at(index.search(queries, neighbours), truth)

    most = min(codes.most_effort, _MOST_CANDIDATES) if codes.kind == "hnsw" else codes.most_effort
    first = min(most, neighbours if codes.kind == "hnsw" else 1)
    reached = 0.0
    for width in _WIDTHS if isinstance(index, RefinedIndex) else (0,):
        if isinstance(index, RefinedIndex):
            index.width = width
        reached = _least_effort(measured, first, most, target, impatient=width not in (0, _WIDTHS[-1]))
        if reached >= target:
            break
    return reached


def _least_effort(measured: Callable[[int], float], first: int, most: int, target: float, *, impatient: bool) -> float:
    """Doubles the effort until the recall is there, then halves the last step a few times."""
    low, high, recall = first - 1, first, measured(first)
    while recall < target and high < most:
        low, high, before = high, min(2 * high, most), recall
        recall = measured(high)
        if impatient and recall < target and recall - before < _LEAST_GAIN:
            return recall
    while recall >= target and high - low > max(1, high // 8):
        middle = (low + high) // 2
        less = measured(middle)
        if less >= target:
            high, recall = middle, less
        else:
            low = middle
    # The last one measured may not have been the one that is kept.
    return measured(high)
