"""The curves of a report: CMC, ROC, and histograms of distances."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.evaluation.rank import RankMetrics
from fastreid_ext.evaluation.roc import RocCurve
from fastreid_ext.report.payload import Curves

__all__ = ["curves_of"]

_BINS = 100
_POINTS = 400
# Of the distances themselves: six digits still cut it into bins.
_LEAST_RANGE = 0.002


def curves_of(ranks: RankMetrics, roc: RocCurve) -> Curves:
    """What is drawn of a ranking.

    Histograms are counted from all thresholds of the ROC: exactly where it is exact, otherwise a pair may count in the
    next bin if its distance is less than 2^-15 of it away from there.
    """
    edges = _edges(float(roc.thresholds[1]), float(roc.thresholds[-1]))
    thin = roc.thinned(_POINTS)
    return {
        "cmc": _rounded(ranks.cmc),
        "fpr": _rounded(thin.fpr),
        "tpr": _rounded(thin.tpr),
        "thresholds": [None, *_rounded(thin.thresholds[1:])],
        "edges": _rounded(edges),
        "genuine": _shares(roc.thresholds, roc.tpr, edges),
        "impostor": _shares(roc.thresholds, roc.fpr, edges),
    }


def _edges(low: float, high: float) -> Tensor:
    least = _LEAST_RANGE * (max(abs(low), abs(high)) or 1.0)
    if high - low < least:
        # A collapsed model finds all images at one distance, which is a bar and not nothing.
        low, high = (low + high - least) / 2, (low + high + least) / 2
    edges = torch.linspace(low, high, _BINS + 1, dtype=torch.float64)
    # Not what the steps to it add up to.
    edges[-1] = high
    return edges


def _shares(thresholds: Tensor, reached: Tensor, edges: Tensor) -> list[float]:
    """Of the pairs in each bin; its upper edge belongs to it, to the first the lower one, too.

    Shape:
        thresholds, reached: (T,). edges: (B + 1,).
    """
    at_edges = reached[torch.searchsorted(thresholds, edges, right=True) - 1]
    at_edges[0] = 0
    return _rounded(at_edges.diff())


def _rounded(values: Tensor) -> list[float]:
    """Six digits, however small the numbers are."""
    return [float(f"{value:.6g}") for value in values.tolist()]
