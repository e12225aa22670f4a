"""Losses that compare queries with keys: the images of a batch with each other, or with a dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from torch import Tensor

from fastreid_ext.functional.keys import Keys, keys_of_batch, keys_of_ids
from fastreid_ext.modeling.losses.base import PairwiseLoss, check_inputs
from fastreid_ext.utils.dist import gather

__all__ = ["KeyedLoss"]


class KeyedLoss(PairwiseLoss):
    """A loss of each query's positive and negative keys: a tripletwise loss.

    It is called as `loss(embeddings, pids)` for a batch against itself, where no image is its own positive, or as
    `loss(queries, keys, query_ids, key_ids)` for queries against any keys. Subclasses say what it is in `compare`.
    """

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """The loss of the queries, each with its own positive and negative keys.

        Shape:
            queries: (Q, D), as many as the masks of `keys` have rows.
            Result: scalar.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it compares queries with keys")

    @overload
    def forward(self, queries: Tensor, keys: Tensor) -> Tensor: ...

    @overload
    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        query_ids: Tensor,
        key_ids: Tensor,
        positive_mask: Tensor | None = None,
        negative_mask: Tensor | None = None,
    ) -> Tensor: ...

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        query_ids: Tensor | None = None,
        key_ids: Tensor | None = None,
        positive_mask: Tensor | None = None,
        negative_mask: Tensor | None = None,
    ) -> Tensor:
        """The loss of queries and keys, or, as `loss(embeddings, pids)`, of a batch against itself.

        A key is a positive of the queries of its identity, and a negative of the others. Where queries are among the
        keys, `positive_mask` has to leave out each query's own key.

        Shape:
            queries: (Q, D). keys: (M, D). query_ids: (Q,). key_ids: (M,).
            positive_mask, negative_mask: (Q, M), boolean: which keys may be positives, and which negatives.
            embeddings: (B, D). pids: (B,).
            Result: scalar.

        Raises:
            ValueError: shapes that do not belong together.
        """
        if query_ids is None or key_ids is None:
            embeddings, pids = queries, keys
            check_inputs(embeddings, pids)
            return self.compare(embeddings, keys_of_batch(embeddings, pids))
        check_inputs(queries, query_ids)
        check_inputs(keys, key_ids)
        _check_keys(queries, keys, positive_mask, negative_mask)
        return self.compare(queries, keys_of_ids(keys, query_ids, key_ids, positive_mask, negative_mask))

    def from_outputs(self, outputs: Mapping[str, Any], pids: Tensor) -> Tensor:
        """The loss of `outputs["features"]` of all ranks against `outputs["keys"]`, or against each other.

        Shape:
            pids: (B,), B equal on all ranks.
            Result: scalar, the same on every rank.
        """
        keys: Keys | None = outputs.get("keys")
        if keys is None:
            return super().from_outputs(outputs, pids)
        queries = gather(outputs["features"])
        _check_keys(queries, keys.features, keys.positive, keys.negative)
        return self.compare(queries, keys)


def _check_keys(queries: Tensor, keys: Tensor, *masks: Tensor | None) -> None:
    if queries.shape[1] != keys.shape[1]:
        raise ValueError(f"queries are {queries.shape[1]} wide, keys {keys.shape[1]}: they cannot be compared")
    for mask in masks:
        if mask is not None and mask.shape != (len(queries), len(keys)):
            raise ValueError(f"a mask of {len(queries)} queries and {len(keys)} keys cannot be {tuple(mask.shape)}")
