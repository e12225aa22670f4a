"""The hardest of a query's keys, by similarity."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.functional.pairs import masked_logsumexp

__all__ = ["hardest_logsumexp", "hardest_positive"]


def hardest_positive(similarities: Tensor, positive: Tensor) -> Tensor:
    """Smallest similarity of each query's positives; of queries without one, the highest number.

    Shape:
        similarities: (Q, M), M > 0. positive: (Q, M), boolean.
        Result: (Q,).
    """
    return torch.where(positive, similarities, torch.finfo(similarities.dtype).max).amin(1)


def hardest_logsumexp(similarities: Tensor, negative: Tensor, count: int) -> Tensor:
    """Logarithm of the sum of exponentials of each query's most similar negatives; without any, a very low number.

    Args:
        similarities: of queries and keys.
        negative: which keys are negatives.
        count: how many of them to take; 0 takes all, and so do queries that have fewer.

    Shape:
        similarities: (Q, M). negative: (Q, M), boolean.
        Result: (Q,).
    """
    if count == 0 or count >= similarities.shape[1]:
        return masked_logsumexp(similarities, negative)
    lowest = torch.finfo(similarities.dtype).min
    return torch.where(negative, similarities, lowest).topk(count, dim=1, sorted=False).values.logsumexp(1)
