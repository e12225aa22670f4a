"""Circle loss on pairs."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import softplus

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.distances import cosine_distance
from fastreid_ext.functional.pairs import masked_logsumexp, masked_mean, pair_masks
from fastreid_ext.modeling.losses.base import PairwiseLoss, check_inputs
from fastreid_ext.modeling.losses.registry import LOSSES

__all__ = ["CircleLoss"]


@LOSSES.register(source="Sun et al. 2020, arXiv:2002.10857, eq. 6")
class CircleLoss(PairwiseLoss):
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

    def forward(self, embeddings: Tensor, pids: Tensor) -> Tensor:
        """Mean over anchors; 0 when no anchor has both a positive and a negative.

        Shape:
            embeddings: (B, D). pids: (B,).
            Result: scalar.
        """
        check_inputs(embeddings, pids)
        cosines = 1 - cosine_distance(embeddings, embeddings)
        positive, negative = pair_masks(pids)
        positive_weights = (1 + self.margin - cosines.detach()).relu()
        negative_weights = (cosines.detach() + self.margin).relu()
        of_positives = -self.gamma * positive_weights * (cosines - (1 - self.margin))
        of_negatives = self.gamma * negative_weights * (cosines - self.margin)
        losses = softplus(masked_logsumexp(of_positives, positive) + masked_logsumexp(of_negatives, negative))
        return masked_mean(losses, positive.any(1) & negative.any(1))
