"""What queries are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fastreid_ext.functional.distances import euclidean_distance, normalize
from fastreid_ext.functional.pairs import pair_masks
from fastreid_ext.functional.precision import widen

__all__ = ["Keys", "key_distances", "keys_of_batch", "keys_of_ids"]


@dataclass(frozen=True)
class Keys:
    """Embeddings that queries are compared with, and which of them are whose positives and negatives.

    A key may be neither, such as the image that the query is itself.

    Shape:
        features: (M, D). pids: (M,), of the keys. positive, negative: (Q, M), boolean, of Q queries.
    """

    features: Tensor
    pids: Tensor
    positive: Tensor
    negative: Tensor


def keys_of_batch(embeddings: Tensor, pids: Tensor) -> Keys:
    """A batch as keys of itself. No image is a positive of itself.

    Shape:
        embeddings: (B, D). pids: (B,).
    """
    return Keys(embeddings, pids, *pair_masks(pids))


def keys_of_ids(
    features: Tensor,
    query_ids: Tensor,
    key_ids: Tensor,
    positive_mask: Tensor | None = None,
    negative_mask: Tensor | None = None,
) -> Keys:
    """Keys with the query's identity are its positives, all others its negatives, as far as the masks allow.

    Shape:
        features: (M, D). query_ids: (Q,). key_ids: (M,). positive_mask, negative_mask: (Q, M), boolean: which keys may
        be positives, and which negatives; all where there is none.
    """
    same = query_ids[:, None] == key_ids
    positive = same if positive_mask is None else same & positive_mask
    negative = ~same if negative_mask is None else ~same & negative_mask
    return Keys(features, key_ids, positive, negative)


def key_distances(queries: Tensor, keys: Keys, *, norm_feat: bool = False) -> Tensor:
    """Euclidean distances of queries and keys, of unit vectors where `norm_feat` says so.

    Shape:
        queries: (Q, D).
        Result: (Q, M).
    """
    if norm_feat:
        return euclidean_distance(normalize(widen(queries)), normalize(widen(keys.features)))
    return euclidean_distance(queries, keys.features)
