"""Weighted sums of distances of which few have a weight."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastreid_ext.functional.distance_order import common_part
from fastreid_ext.functional.distances import Metric, euclidean_distance

__all__ = ["sum_of_few_distances"]

# What so many pairs need, of some thousand numbers each, stays in a processor's cache.
_PAIRS = 512


def sum_of_few_distances(queries: Tensor, keys: Tensor, weights: Tensor, metric: Metric = "euclidean") -> Tensor:
    """Sum of weighted distances between queries and keys, with gradients for both but not for the weights.

    On a CPU, time goes with the number of weights that are not 0, and a Euclidean distance is the length of a
    difference, exact for neighbours, too; there are no gradients of gradients. A GPU would have to tell the host that
    number; it takes all pairs, by matrix products. The gradient of a Euclidean distance is 0 at zero.

    Args:
        queries: of unit length for "cosine".
        keys: of unit length for "cosine", and of the type of the queries.
        weights: of each pair; dense, or sparse on a CPU.
        metric: "euclidean", or "cosine" for the negative inner product.

    Shape:
        queries: (Q, D). keys: (M, D). weights: (Q, M).
        Result: scalar.
    """
    if queries.is_cuda:
        return _of_all_pairs(queries, keys, weights, metric)
    result: Tensor = _OfFewPairs.apply(queries, keys, weights, metric)  # type: ignore[no-untyped-call]
    return result


def _of_all_pairs(queries: Tensor, keys: Tensor, weights: Tensor, metric: Metric) -> Tensor:
    with torch.autocast(queries.device.type, enabled=False):
        if metric == "cosine":
            distances = -(queries @ keys.T)
        else:
            # What rows have in common would leave few digits for what they differ in.
            centre = common_part(queries)
            distances = euclidean_distance(queries - centre, keys - centre)
    return torch.where(weights != 0, weights * distances, 0).sum()


class _OfFewPairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, queries: Tensor, keys: Tensor, weights: Tensor, metric: Metric) -> Tensor:
        of_queries, of_keys = (
            torch.zeros_like(rows) if needed else None
            for rows, needed in zip((queries, keys), ctx.needs_input_grad, strict=False)
        )
        total = queries.new_zeros(())
        of_pairs = _euclidean if metric == "euclidean" else _cosine
        few = weights if weights.is_sparse else weights.to_sparse()
        pairs, of_weights = few.indices(), few.values()
        for start in range(0, len(of_weights), _PAIRS):
            chunk = slice(start, start + _PAIRS)
            query, key = pairs[:, chunk]
            rows = queries.index_select(0, query), keys.index_select(0, key)
            distances, query_slopes, key_slopes = of_pairs(*rows, of_weights[chunk])
            total += distances
            if of_queries is not None:
                of_queries.index_add_(0, query, query_slopes)
            if of_keys is not None:
                of_keys.index_add_(0, key, key_slopes, alpha=-1)
        ctx.save_for_backward(of_queries, of_keys)
        return total

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]  # torch leaves it untyped
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]  # torch's says Any
        of_queries, of_keys = ctx.saved_tensors
        return (*(None if slopes is None else gradient * slopes for slopes in (of_queries, of_keys)), None, None)


def _euclidean(queries: Tensor, keys: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of the distances of rows, its gradient for the first and minus that for the others; uses up the arguments."""
    differences = queries.sub_(keys)
    lengths = torch.linalg.vector_norm(differences, dim=1)
    slopes = differences.mul_(torch.where(lengths > 0, weights / lengths, 0)[:, None])
    return (weights * lengths).sum(), slopes, slopes


def _cosine(queries: Tensor, keys: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    total = -(weights * (queries * keys).sum(1)).sum()
    return total, keys.mul_(-weights[:, None]), queries.mul_(weights[:, None])
