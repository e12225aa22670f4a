"""Triplet loss with one mined triplet an anchor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.keys import Keys, key_distances
from fastreid_ext.functional.pairs import masked_mean, masked_softmax
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses.keyed import KeyedLoss
from fastreid_ext.modeling.losses.registry import LOSSES

__all__ = ["TripletLoss"]


@LOSSES.register(source="Hermans et al. 2017, arXiv:1703.07737; weighted: Ye et al. 2020, arXiv:2001.04193")
class TripletLoss(KeyedLoss):
    """Triplet loss on the hardest, or on softmax-weighted, positive and negative of each anchor.

    `max(0, positive - negative + margin)` with Euclidean distances; margin 0 takes the soft margin
    `log(1 + exp(positive - negative))`. Without hard mining, all positives are averaged with weights
    `softmax(distance)`, all negatives with `softmax(-distance)`. Anchors without a positive or without a negative do
    not count.

    Raises:
        ValueError: `margin` is negative.
    """

    key = "triplet"
    node = "TRI"

    @configurable
    def __init__(self, *, margin: float = 0.3, norm_feat: bool = False, hard_mining: bool = True) -> None:
        super().__init__()
        if margin < 0:
            raise ValueError(f"a triplet margin cannot be negative: {margin}; 0 takes the soft margin")
        self.margin = margin
        self.norm_feat = norm_feat
        self.hard_mining = hard_mining

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.TRI`."""
        node = cfg.MODEL.LOSSES.TRI
        return {"margin": node.MARGIN, "norm_feat": node.NORM_FEAT, "hard_mining": node.HARD_MINING}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over queries, the anchors; 0 when none has both a positive and a negative.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        if not keys.positive.numel():
            return widen(queries)[:0].sum()
        distances = key_distances(queries, keys, norm_feat=self.norm_feat)
        mine = _hardest if self.hard_mining else _weighted
        gap = mine(distances, keys.positive, keys.negative)
        losses = (gap + self.margin).relu() if self.margin > 0 else softplus(gap)
        return masked_mean(losses, keys.positive.any(1) & keys.negative.any(1))


def _hardest(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    furthest = torch.where(positive, distances, 0).amax(1)
    nearest = torch.where(negative, distances, torch.finfo(distances.dtype).max).amin(1)
    return furthest - nearest


def _weighted(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    of_positives = masked_softmax(distances, positive) * distances
    of_negatives = masked_softmax(-distances, negative) * distances
    return of_positives.sum(1) - of_negatives.sum(1)
