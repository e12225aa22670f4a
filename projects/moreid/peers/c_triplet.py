"""Triplet loss against agents of whole identities."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.distances import euclidean_distance, normalize
from fastreid_ext.functional.keys import Keys
from fastreid_ext.functional.pairs import masked_mean
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses import LOSSES, KeyedLoss

__all__ = ["ClassTripletLoss"]


@LOSSES.register(source="C-triplet: Wang et al. 2017 (NormFace), arXiv:1704.06369; agents from keys: ours")
class ClassTripletLoss(KeyedLoss):
    """Each query is to be nearer to its own identity's agent than to any other's, by a margin.

    A query's loss is the mean over other identities of `max(0, margin + d(own)^2 - d(other)^2)`, with Euclidean
    distances of unit vectors. NormFace learns its agents, one a training identity, as weights. The MoReID paper
    compares with it as a loss on its dictionary and does not say where the agents come from; here, which is our
    reading, an identity's agent is the mean of its keys, brought back to unit length:

    - the query's own: of its positives,
    - another's: of the identity's keys that are anybody's negatives; all queries with a negative among them share it.

    Agents pass gradients on to keys that take them. Queries without a positive or without a negative do not count.

    Raises:
        ValueError: `margin` is negative or not finite.
    """

    key = "c_triplet"
    node = "C_TRIPLET"

    @configurable
    def __init__(self, *, margin: float = 0.8) -> None:
        super().__init__()
        if not 0 <= margin < inf:
            raise ValueError(
                f"the margin of C-triplet (MODEL.LOSSES.C_TRIPLET.MARGIN) is {margin}; "
                f"it must be finite and cannot be negative"
            )
        self.margin = margin

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.C_TRIPLET`."""
        return {"margin": cfg.MODEL.LOSSES.C_TRIPLET.MARGIN}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over queries; 0 when none has both a positive and a negative.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        queries, features = normalize(widen(queries)), normalize(widen(keys.features))
        with torch.autocast(features.device.type, enabled=False):
            own = normalize(keys.positive.to(features.dtype) @ features)
        agents, others = _agents_of_others(features, keys)
        to_own = (queries - own).square().sum(1, keepdim=True)
        gaps = to_own - euclidean_distance(queries, agents, squared=True)
        of_others = torch.where(others, (gaps + self.margin).relu(), 0).sum(1)
        losses = of_others / others.sum(1).clamp_min(1)
        return masked_mean(losses, keys.positive.any(1) & keys.negative.any(1))

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return f"margin={self.margin}"


def _agents_of_others(features: Tensor, keys: Keys) -> tuple[Tensor, Tensor]:
    """Agents of the identities among the negatives, and whose negatives they are.

    There is room for an identity a key, so that shapes do not depend on how many there are.

    Shape:
        features: (M, D), unit vectors.
        Results: agents (M, D), others (Q, M), boolean.
    """
    # The place of an identity's first key among the sorted is a number that no other identity has.
    places = torch.searchsorted(keys.pids.sort().values, keys.pids)
    of_anybody = keys.negative.any(0)
    sums = torch.zeros_like(features).index_add(0, places, features * of_anybody[:, None])
    counts = torch.zeros_like(keys.negative, dtype=torch.int32).index_add(1, places, keys.negative.int())
    return normalize(sums), counts > 0
