"""N-pair loss on the hardest keys."""

from __future__ import annotations

from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.distances import normalize
from fastreid_ext.functional.keys import Keys
from fastreid_ext.functional.pairs import masked_mean
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses import LOSSES, KeyedLoss
from fastreid_ext.projects.moreid.peers.hardest import hardest_logsumexp, hardest_positive

__all__ = ["NPairLoss"]


@LOSSES.register(source="Sohn 2016, NeurIPS, with the keys of Lee et al. 2022 (MoReID), appendix A.2")
class NPairLoss(KeyedLoss):
    """`log(1 + sum_n exp(q.n - q.p))` over a query's hardest negatives n, of any identity, and its hardest positive p.

    Hard is by inner product, of embeddings as they are or of unit vectors. As in Sohn's paper, the mean squared length
    of the queries can be added, which holds lengths down; it is that of the queries as they come. Queries without a
    positive or without a negative do not count.

    Args:
        num_negatives: how many of the hardest negatives to take; all where there are fewer, and for 0.
        norm_feat: takes unit vectors.
        l2_weight: weight of the queries' mean squared length.

    Raises:
        ValueError: `num_negatives` or `l2_weight` is negative.
    """

    key = "n_pair"
    node = "N_PAIR"

    @configurable
    def __init__(self, *, num_negatives: int = 15, norm_feat: bool = False, l2_weight: float = 0.0) -> None:
        super().__init__()
        if num_negatives < 0:
            raise ValueError(
                f"N-pair cannot take {num_negatives} negatives: MODEL.LOSSES.N_PAIR.NUM_NEGATIVES must be positive, "
                f"or 0 for all"
            )
        if not 0 <= l2_weight < inf:
            raise ValueError(
                f"the weight of squared lengths in N-pair (MODEL.LOSSES.N_PAIR.L2_WEIGHT) is {l2_weight}; "
                f"it must be finite and cannot be negative"
            )
        self.num_negatives = num_negatives
        self.norm_feat = norm_feat
        self.l2_weight = l2_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.N_PAIR`."""
        node = cfg.MODEL.LOSSES.N_PAIR
        return {"num_negatives": node.NUM_NEGATIVES, "norm_feat": node.NORM_FEAT, "l2_weight": node.L2_WEIGHT}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over queries; 0 when none has both a positive and a negative.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        if not keys.positive.numel():
            return widen(queries)[:0].sum()
        products = _inner_products(queries, keys.features, self.norm_feat)
        of_negatives = hardest_logsumexp(products, keys.negative, self.num_negatives)
        losses = softplus(of_negatives - hardest_positive(products, keys.positive))
        if self.l2_weight:
            losses = losses + self.l2_weight * widen(queries).square().sum(1)
        return masked_mean(losses, keys.positive.any(1) & keys.negative.any(1))

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return f"num_negatives={self.num_negatives}, norm_feat={self.norm_feat}, l2_weight={self.l2_weight}"


def _inner_products(queries: Tensor, features: Tensor, norm_feat: bool) -> Tensor:
    dtype = torch.promote_types(widen(queries).dtype, widen(features).dtype)
    queries, features = queries.to(dtype), features.to(dtype)
    if norm_feat:
        queries, features = normalize(queries), normalize(features)
    with torch.autocast(queries.device.type, enabled=False):
        return queries @ features.T
