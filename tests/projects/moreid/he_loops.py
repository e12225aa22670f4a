"""The hard-distance elastic loss as the paper prints it: queries one by one, and a search for each one's boundary."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["distances_of", "hard_counts", "lowest_on_a_grid", "penalty", "scan_loss"]


def distances_of(query: Tensor, keys: Tensor, metric: str = "euclidean") -> Tensor:
    """Distances of one query and all keys, key by key. The root has gradient 0 at distance zero."""
    if not len(keys):
        return query.sum() * query.new_zeros(0)
    if metric == "cosine":
        return torch.stack([-(_direction(query) * _direction(key)).sum() for key in keys])
    return torch.stack([torch.linalg.vector_norm(query - key) for key in keys])


def penalty(positives: Tensor, negatives: Tensor, boundary: float) -> Tensor:
    """Eq. 1: how far positives lie behind the boundary, and negatives before it."""
    return (positives - boundary).relu().sum() + (boundary - negatives).relu().sum()


def hard_counts(positives: Tensor, negatives: Tensor, boundary: float) -> tuple[int, int]:
    """Numbers of hard positives and of hard negatives, whose difference is the slope of eq. 3."""
    return int((positives > boundary).sum()), int((negatives < boundary).sum())


def scan_loss(queries: Tensor, keys: Tensor, positive: Tensor, negative: Tensor, metric: str = "euclidean") -> Tensor:
    """Mean over queries of the penalty at the first candidate with as many hard positives as hard negatives.

    Candidates are the distances in ascending order and the middles between them. Where several keys are as far away as
    the boundary there may be none: then the loss is the lowest penalty, and what one kind of hard key has too much is
    shared by the keys of the other kind that lie on the boundary, for the slope of eq. 3 to be 0.
    """
    losses = [queries.sum() * 0 + keys.sum() * 0]
    for query, is_positive, is_negative in zip(queries, positive, negative, strict=True):
        distances = distances_of(query, keys, metric)
        losses.append(_query_loss(distances[is_positive], distances[is_negative]))
    return torch.stack(losses).sum() / max(1, len(queries))


def lowest_on_a_grid(positives: Tensor, negatives: Tensor, steps: int = 2001) -> tuple[float, float]:
    """The lowest penalty over equally spaced boundaries, and how much lower it can be between them."""
    both = torch.cat([positives, negatives])
    if not len(both):
        return 0.0, 0.0
    grid = torch.linspace(both.min().item(), both.max().item(), steps, dtype=torch.float64)
    penalties = (positives[:, None] - grid).relu().sum(0) + (grid - negatives[:, None]).relu().sum(0)
    return penalties.min().item(), (len(both) * (grid[1] - grid[0])).item()


def _query_loss(positives: Tensor, negatives: Tensor) -> Tensor:
    p, n = positives.detach(), negatives.detach()
    boundary = _boundary(p, n)
    loss = penalty(positives, negatives, boundary)
    hard_positives, hard_negatives = hard_counts(p, n, boundary)
    if hard_positives < hard_negatives:
        loss = loss + (hard_negatives - hard_positives) * (positives[p == boundary] - boundary).mean()
    elif hard_positives > hard_negatives:
        loss = loss + (hard_positives - hard_negatives) * (boundary - negatives[n == boundary]).mean()
    return loss


def _boundary(positives: Tensor, negatives: Tensor) -> float:
    distances = sorted({*positives.tolist(), *negatives.tolist()})
    candidates = sorted([*distances, *((a + b) / 2 for a, b in pairwise(distances))])
    for candidate in candidates:
        hard_positives, hard_negatives = hard_counts(positives, negatives, candidate)
        if hard_positives == hard_negatives:
            return candidate
    return min(candidates, key=lambda candidate: penalty(positives, negatives, candidate).item(), default=0.0)


def _direction(x: Tensor) -> Tensor:
    length = torch.linalg.vector_norm(x)
    return x / length if length > 1e-12 else x
