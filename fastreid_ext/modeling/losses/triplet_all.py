"""Triplet loss on all triplets of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.keys import Keys, key_distances
from fastreid_ext.modeling.losses.keyed import KeyedLoss
from fastreid_ext.modeling.losses.registry import LOSSES

__all__ = ["TripletAllLoss"]


@LOSSES.register(source="batch all: Hermans et al. 2017, arXiv:1703.07737")
class TripletAllLoss(KeyedLoss):
    """Triplet loss on every positive against every negative of each anchor, averaged over those above zero.

    `max(0, positive - negative + margin)` with Euclidean distances. Each anchor's negatives are sorted once, so that
    the triplets of a pair are a prefix: time and memory grow with B^2 instead of B^3 in a batch against itself.

    Raises:
        ValueError: `margin` is negative.
    """

    key = "triplet_all"
    node = "TRI_ALL"

    @configurable
    def __init__(self, *, margin: float = 0.3, norm_feat: bool = False) -> None:
        super().__init__()
        if margin < 0:
            raise ValueError(f"a triplet margin cannot be negative: {margin}")
        self.margin = margin
        self.norm_feat = norm_feat

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.TRI_ALL`."""
        node = cfg.MODEL.LOSSES.TRI_ALL
        return {"margin": node.MARGIN, "norm_feat": node.NORM_FEAT}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over the triplets whose loss is above zero; 0 when there is none.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        distances = key_distances(queries, keys, norm_feat=self.norm_feat)
        reaches = torch.where(keys.positive, distances + self.margin, 0)
        counts, sums = _nearer_negatives(distances, keys.negative, reaches)
        of_positives = torch.where(keys.positive, counts * reaches - sums, 0).sum()
        return of_positives / (counts * keys.positive).sum().clamp_min(1)


def _nearer_negatives(distances: Tensor, negative: Tensor, reaches: Tensor) -> tuple[Tensor, Tensor]:
    """Number, and sum of the distances, of each row's negatives that are nearer than each of `reaches`.

    Shape:
        distances, negative, reaches: (Q, M).
        Results: counts (Q, M), sums (Q, M).
    """
    ascending = torch.where(negative, distances, torch.inf).sort(dim=1).values
    counts = torch.searchsorted(ascending.detach(), reaches.detach())
    sums = torch.where(ascending.isinf(), 0, ascending).cumsum(1)
    return counts, torch.cat([sums.new_zeros(len(sums), 1), sums], dim=1).gather(1, counts)
