"""Cosine-margin loss on pairs."""

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

__all__ = ["Cosface"]


@LOSSES.register(source="Wang et al. 2018, arXiv:1801.09414, on pairs as in Sun et al. 2020, arXiv:2002.10857, eq. 1")
class Cosface(KeyedLoss):
    """Every negative's cosine plus a margin is to stay below every positive's.

    Anchors without a positive or without a negative do not count.
    """

    key = "cosface"
    node = "COSFACE"

    @configurable
    def __init__(self, *, margin: float = 0.25, gamma: float = 128.0) -> None:
        super().__init__()
        self.margin = margin
        self.gamma = gamma

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.COSFACE`."""
        node = cfg.MODEL.LOSSES.COSFACE
        return {"margin": node.MARGIN, "gamma": node.GAMMA}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over queries, the anchors; 0 when none has both a positive and a negative.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        cosines = 1 - cosine_distance(queries, keys.features)
        of_positives = masked_logsumexp(-self.gamma * cosines, keys.positive)
        of_negatives = masked_logsumexp(self.gamma * (cosines + self.margin), keys.negative)
        return masked_mean(softplus(of_positives + of_negatives), keys.positive.any(1) & keys.negative.any(1))
