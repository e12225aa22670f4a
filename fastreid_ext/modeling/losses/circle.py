"""Circle loss on pairs."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import softplus

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.distances import cosine_distance
from fastreid_ext.functional.keys import Keys
from fastreid_ext.functional.pairs import masked_logsumexp, masked_mean
from fastreid_ext.modeling.losses.keyed import KeyedLoss
from fastreid_ext.modeling.losses.registry import LOSSES

__all__ = ["CircleLoss"]


@LOSSES.register(source="Sun et al. 2020, arXiv:2002.10857, eq. 6")
class CircleLoss(KeyedLoss):
    """Circle loss on the cosines of pairs, each weighted by its distance to its optimum.

    With m the margin, the optima are `1 + m` and `-m`, the boundaries `1 - m` and `m`. Anchors without a positive or
    without a negative do not count.
    """

    key = "circle"
    node = "CIRCLE"

    @configurable
    def __init__(self, *, margin: float = 0.25, gamma: float = 128.0) -> None:
        super().__init__()
        self.margin = margin
        self.gamma = gamma

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.CIRCLE`."""
        node = cfg.MODEL.LOSSES.CIRCLE
        return {"margin": node.MARGIN, "gamma": node.GAMMA}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over queries, the anchors; 0 when none has both a positive and a negative.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        cosines = 1 - cosine_distance(queries, keys.features)
        positive_weights = (1 + self.margin - cosines.detach()).relu()
        negative_weights = (cosines.detach() + self.margin).relu()
        of_positives = -self.gamma * positive_weights * (cosines - (1 - self.margin))
        of_negatives = self.gamma * negative_weights * (cosines - self.margin)
        losses = softplus(masked_logsumexp(of_positives, keys.positive) + masked_logsumexp(of_negatives, keys.negative))
        return masked_mean(losses, keys.positive.any(1) & keys.negative.any(1))
