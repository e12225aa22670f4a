"""Ranked list loss."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.keys import Keys, key_distances
from fastreid_ext.functional.pairs import masked_mean, masked_softmax
from fastreid_ext.modeling.losses import LOSSES, KeyedLoss

__all__ = ["RankedListLoss"]


@LOSSES.register(source="Wang et al. 2019, arXiv:1903.03238; values: Lee et al. 2022 (MoReID), appendix A.2")
class RankedListLoss(KeyedLoss):
    """Positives are to lie within a boundary, negatives beyond another one, by Euclidean distances of unit vectors.

    A query's hard positives are further away than `alpha - margin`, its hard negatives nearer than `alpha`. Its loss is
    half the mean excess of the hard positives, and half the weighted mean excess of the hard negatives, whose weights
    are proportional to `exp(temperature * excess)` and have no gradient. A side without a hard key is 0. The halves
    give both sides the same say, at the scale of pytorch-metric-learning's `RankedListLoss` (`imbalance` 0.5), whose
    positives' temperature is 0. Queries without a positive or without a negative do not count.

    Args:
        alpha: boundary of the negatives.
        margin: how much nearer the positives' boundary is; the paper's m, and the beta of the MoReID paper.
        temperature: how much the hardest negatives outweigh the others; the paper's T_n.

    Raises:
        ValueError: `alpha` is not positive, `margin` not between 0 and `alpha`, or `temperature` negative.
    """

    key = "ranked_list"
    node = "RANKED_LIST"

    @configurable
    def __init__(self, *, alpha: float = 1.2, margin: float = 0.4, temperature: float = 10.0) -> None:
        super().__init__()
        node = "MODEL.LOSSES.RANKED_LIST"
        if not 0 < alpha < inf:
            raise ValueError(f"no negative is within a boundary of {alpha}: {node}.ALPHA must be above 0 and finite")
        if not 0 <= margin <= alpha:
            raise ValueError(f"{node}.MARGIN is {margin}; it must lie between 0 and {node}.ALPHA, which is {alpha}")
        if not 0 <= temperature < inf:
            raise ValueError(f"{node}.TEMPERATURE is {temperature}; it must be finite and cannot be negative")
        self.alpha = alpha
        self.margin = margin
        self.temperature = temperature

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.RANKED_LIST`."""
        node = cfg.MODEL.LOSSES.RANKED_LIST
        return {"alpha": node.ALPHA, "margin": node.MARGIN, "temperature": node.TEMPERATURE}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over queries; 0 when none has both a positive and a negative.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        distances = key_distances(queries, keys, norm_feat=True)
        beyond, within = distances - (self.alpha - self.margin), self.alpha - distances
        hard_positive, hard_negative = keys.positive & (beyond > 0), keys.negative & (within > 0)
        of_positives = torch.where(hard_positive, beyond, 0).sum(1) / hard_positive.sum(1).clamp_min(1)
        weights = masked_softmax(self.temperature * within.detach(), hard_negative)
        losses = (of_positives + (weights * within).sum(1)) / 2
        return masked_mean(losses, keys.positive.any(1) & keys.negative.any(1))

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return f"alpha={self.alpha}, margin={self.margin}, temperature={self.temperature}"
