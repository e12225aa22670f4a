"""Triplet loss with weights from the distribution of the gaps seen so far."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.keys import Keys, key_distances
from fastreid_ext.functional.pairs import masked_mean
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses import LOSSES, KeyedLoss

__all__ = ["WeightedTripletLoss"]

_WIDEST_GAP = 2.0


@LOSSES.register(source="Zhang and Rusinkiewicz 2019, ICCV: CDF-based dynamic soft margin")
class WeightedTripletLoss(KeyedLoss):
    """Gap of the hardest positive's and the hardest negative's distance, weighted by how many gaps are smaller.

    Distances are of unit vectors, so that gaps lie in [-2, 2]; a gap's weight is the cumulative distribution of gaps
    there and has no gradient. In place of a margin, the triplets that are harder than most count most. **The loss is
    negative** when positives are nearer than negatives: that is as good as it gets, no sign of a fault.

    The distribution is a histogram at evenly spaced gaps; a gap is shared by the two that it lies between, in
    proportion, and the cumulative sum is read off between them in the same way. In training mode, and with gradients
    enabled, each batch is averaged into the histogram before the weights are taken; the first one makes it. Elsewhere
    the histogram stays as it is, and a loss that has not been trained goes by the batch at hand. Queries without a
    positive or without a negative do not count. Where anything is not finite, the batch does not enter the histogram:
    a step of mixed precision that overflows leaves nothing behind. The branches of a head share one histogram.

    Args:
        momentum: weight of a new batch in the histogram.
        bins: how many gaps the histogram has.

    Raises:
        ValueError: a momentum outside (0, 1], or less than two bins.
    """

    key = "w_triplet"
    node = "W_TRIPLET"
    histogram: Tensor

    @configurable
    def __init__(self, *, momentum: float = 0.01, bins: int = 512) -> None:
        super().__init__()
        if not 0 < momentum <= 1:
            raise ValueError(
                f"a new batch's weight in W-triplet (MODEL.LOSSES.W_TRIPLET.MOMENTUM) is {momentum}; "
                f"it must be above 0 and at most 1"
            )
        if bins < 2:
            raise ValueError(f"a histogram of {bins} bins says nothing: MODEL.LOSSES.W_TRIPLET.BINS must be at least 2")
        self.momentum = momentum
        self.register_buffer("histogram", torch.zeros(bins))

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.W_TRIPLET`."""
        node = cfg.MODEL.LOSSES.W_TRIPLET
        return {"momentum": node.MOMENTUM, "bins": node.BINS}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over queries; 0 when none has both a positive and a negative.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        if not keys.positive.numel():
            return widen(queries)[:0].sum()
        distances = key_distances(queries, keys, norm_feat=True)
        furthest = torch.where(keys.positive, distances, 0).amax(1)
        nearest = torch.where(keys.negative, distances, torch.finfo(distances.dtype).max).amin(1)
        counts = keys.positive.any(1) & keys.negative.any(1)
        gaps = torch.where(counts, furthest - nearest, 0)
        finite = queries.isfinite().all() & keys.features.isfinite().all()
        return masked_mean(self._weigh(gaps.detach(), counts & finite) * gaps, counts)

    @torch.no_grad()
    def _update(self, batch: Tensor, learns: bool) -> Tensor:
        """The histogram to go by, kept when it `learns`; one of zeros, of no query or no batch yet, is passed over.

        Shape:
            batch: (bins,), the histogram of the batch.
            Result: (bins,).
        """
        old = self.histogram.to(batch.dtype)
        mixed = torch.where(old.any(), old + (self.momentum if learns else 0.0) * (batch - old), batch)
        histogram = torch.where(batch.any(), mixed, old)
        if learns:
            self.histogram.copy_(histogram)
        return histogram

    def _weigh(self, gaps: Tensor, counts: Tensor) -> Tensor:
        """Each gap's place in the cumulative distribution.

        Shape:
            gaps: (Q,), without gradient. counts: (Q,), boolean; which of them to enter into the histogram.
            Result: (Q,).
        """
        last = len(self.histogram) - 1
        places = ((torch.where(counts, gaps, 0) / _WIDEST_GAP + 1) * (last / 2)).clamp(0, last)
        left = places.floor().clamp_max(last - 1)
        rest, left = places - left, left.long()
        masses = counts / counts.sum().clamp_min(1).to(gaps.dtype)
        batch = gaps.new_zeros(last + 1).index_add(0, left, (1 - rest) * masses).index_add(0, left + 1, rest * masses)
        learns = self.training and torch.is_grad_enabled()
        cumulative = self._update(batch, learns).cumsum(0)
        return cumulative[left].lerp(cumulative[left + 1], rest)

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return f"momentum={self.momentum}, bins={len(self.histogram)}"
