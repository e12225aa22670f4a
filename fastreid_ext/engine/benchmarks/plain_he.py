"""The Hard-distance Elastic loss as it is defined, with a boundary, by autograd."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.functional.distances import Metric, pairwise_distance
from fastreid_ext.functional.keys import Keys

__all__ = ["dense_loss", "scan_loss"]


def scan_loss(queries: Tensor, keys: Keys, metric: Metric = "euclidean") -> Tensor:
    """One query after the other, each with a walk over its sorted distances to its boundary.

    All distances come from one product, and a walk is a cumulative sum: what is left is the loop over queries.

    Args:
        queries: each with at least one positive or negative key.
        keys: that they are compared with.
        metric: "euclidean" or "cosine".

    Shape:
        queries: (Q, D).
        Result: scalar.

    Source: Lee et al. 2022 (MoReID), Algorithm 1.
    """
    distances = pairwise_distance(queries, keys.features, metric)
    losses = [
        # Boolean indices would take longer.
        _scan(row.masked_select(positive), row.masked_select(negative))
        for row, positive, negative in zip(distances, keys.positive, keys.negative, strict=True)
    ]
    return torch.stack(losses).mean()


def _scan(of_positives: Tensor, of_negatives: Tensor) -> Tensor:
    """The loss of a query, at the first distance that no more positives lie beyond than negatives within.

    The boundary keeps its gradient: where it is a negative, one positive more than negatives is on the wrong side.
    """
    distances = torch.cat((of_positives, of_negatives))
    order = distances.detach().argsort()
    positives = (order < len(of_positives)).cumsum(0)
    negatives = torch.arange(1, len(order) + 1, device=order.device) - positives
    stop = (negatives >= len(of_positives) - positives).to(torch.uint8).argmax()
    boundary = distances[order[stop]]
    return (of_positives - boundary).relu().sum() + (boundary - of_negatives).relu().sum()


def dense_loss(queries: Tensor, keys: Keys, metric: Metric = "euclidean") -> Tensor:
    """All queries at once, with the boundary by `topk`; every distance is in the sums, and in the backward pass.

    Args:
        queries: of which at least one has a positive key.
        keys: that they are compared with.
        metric: "euclidean" or "cosine".

    Shape:
        queries: (Q, D).
        Result: scalar.
    """
    distances = pairwise_distance(queries, keys.features, metric)
    places = keys.positive.sum(1, keepdim=True)
    among = torch.where(keys.positive | keys.negative, distances, torch.inf)
    nearest = among.topk(int(places.max()), dim=1, largest=False).values
    boundary = nearest.gather(1, (places - 1).clamp_min(0))
    beyond = torch.where(keys.positive, (distances - boundary).relu(), 0)
    within = torch.where(keys.negative, (boundary - distances).relu(), 0)
    return (beyond + within).sum(1).mean()
