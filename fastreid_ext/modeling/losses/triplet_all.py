"""Triplet loss on all triplets of a batch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.distances import euclidean_distance, normalize
from fastreid_ext.functional.pairs import pair_masks
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses.base import PairwiseLoss, check_inputs
from fastreid_ext.modeling.losses.registry import LOSSES

__all__ = ["TripletAllLoss"]


@LOSSES.register(source="batch all: Hermans et al. 2017, arXiv:1703.07737")
class TripletAllLoss(PairwiseLoss):
    """Triplet loss on every positive against every negative of each anchor, averaged over those above zero.

    `max(0, positive - negative + margin)` with Euclidean distances. Each anchor's negatives are sorted once, so that
    the triplets of a pair are a prefix: time and memory grow with B^2 instead of B^3.

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

    def forward(self, embeddings: Tensor, pids: Tensor) -> Tensor:
        """Mean over the triplets whose loss is above zero; 0 when there is none.

        Shape:
            embeddings: (B, D). pids: (B,).
            Result: scalar.
        """
        check_inputs(embeddings, pids)
        embeddings = widen(embeddings)
        embeddings = normalize(embeddings) if self.norm_feat else embeddings
        distances = euclidean_distance(embeddings, embeddings)
        positive, negative = pair_masks(pids)
        reaches = torch.where(positive, distances + self.margin, 0)
        counts, sums = _nearer_negatives(distances, negative, reaches)
        return torch.where(positive, counts * reaches - sums, 0).sum() / (counts * positive).sum().clamp_min(1)


def _nearer_negatives(distances: Tensor, negative: Tensor, reaches: Tensor) -> tuple[Tensor, Tensor]:
    """Number, and sum of the distances, of each row's negatives that are nearer than each of `reaches`.

    Shape:
        distances, negative, reaches: (B, B).
        Results: counts (B, B), sums (B, B).
    """
    ascending = torch.where(negative, distances, torch.inf).sort(dim=1).values
    counts = torch.searchsorted(ascending.detach(), reaches.detach())
    sums = torch.where(ascending.isinf(), 0, ascending).cumsum(1)
    return counts, torch.cat([sums.new_zeros(len(sums), 1), sums], dim=1).gather(1, counts)
