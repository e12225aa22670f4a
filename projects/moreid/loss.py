"""The Hard-distance Elastic loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, ConfigError, configurable
from fastreid_ext.functional.distance_order import in_order_of_distance
from fastreid_ext.functional.distances import Metric, check_metric, normalize
from fastreid_ext.functional.few_distances import sum_of_few_distances
from fastreid_ext.functional.keys import Keys
from fastreid_ext.functional.order_statistics import nth_smallest
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses import LOSSES, KeyedLoss

__all__ = ["HardDistanceElasticLoss"]


@LOSSES.register(source="Lee et al. 2022 (MoReID)", aliases=("HELoss", "HeLoss"))
class HardDistanceElasticLoss(KeyedLoss):
    """How far a query's keys lie on the wrong side of the boundary t that suits the query best.

    With d the distances of positives P and negatives N, `min_t sum_P max(d - t, 0) + sum_N max(t - d, 0)` (eqs. 1, 2).
    Any t from the |P|-th smallest of all distances to the next one is best: then as many positives are beyond it as
    negatives within, and t cancels out. What is left, and computed here, is the sum of the distances of the positives
    less the sum of the |P| smallest distances. Distances that tie at the boundary share what gradient is left for them.

    Only the pairs on the wrong side have a gradient; the boundary needs the distances of all.

    Args:
        metric: "euclidean", or "cosine" for the negative cosine.

    Raises:
        ValueError: an unknown metric.
    """

    key = "he"
    node = "HE"

    @configurable
    def __init__(self, *, metric: Metric = "euclidean") -> None:
        super().__init__()
        check_metric(metric)
        self.metric = metric

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.HE`.

        Raises:
            ConfigError: an unknown metric.
        """
        metric = cfg.MODEL.LOSSES.HE.METRIC
        try:
            check_metric(metric)
        except ValueError as error:
            raise ConfigError(f"MODEL.LOSSES.HE.METRIC: {error}") from error
        return {"metric": metric}

    # On a CPU, how much is computed depends on the values.
    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch leaves it untyped
    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over all queries, of which those without a positive have loss 0.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        dtype = torch.promote_types(widen(queries).dtype, widen(keys.features).dtype)
        queries, features = queries.to(dtype), keys.features.to(dtype)
        if not keys.positive.numel():
            return queries[:0].sum() + features[:0].sum()
        if self.metric == "cosine":
            queries, features = normalize(queries), normalize(features)
        weights = elastic_weights(in_order_of_distance(queries, features, self.metric), keys.positive, keys.negative)
        return sum_of_few_distances(queries, features, weights, self.metric) / len(queries)

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return f"metric={self.metric!r}"


def elastic_weights(distances: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """What each distance counts in the loss: 1 for a positive, -1 for one of the |P| smallest, the sum for both.

    Where distances tie for the last places among the smallest, positives come first, and equals share. The result is
    sparse on a CPU, and dense on a GPU, which would have to tell the host how many are not 0.

    Shape:
        distances: (Q, M), or any other numbers of the same order. positive, negative: (Q, M), boolean.
        Result: (Q, M), the type of `distances`.
    """
    distances = torch.where(positive | negative, distances, torch.inf)
    places = positive.sum(1, keepdim=True)
    boundary = nth_smallest(distances, places.squeeze(1))[:, None]
    within, tied = distances < boundary, distances == boundary
    left = places - within.sum(1, keepdim=True)
    tied_positives = (tied & positive).sum(1, keepdim=True)
    tied_negatives = tied.sum(1, keepdim=True) - tied_positives
    dtype = distances.dtype
    of_positives = left.minimum(tied_positives).to(dtype) / tied_positives.clamp_min(1)
    of_negatives = (left - tied_positives).clamp_min(0).to(dtype) / tied_negatives.clamp_min(1)
    if distances.is_cuda:
        return _counts(positive, within, tied, of_positives, of_negatives)
    pairs = ((positive != within) | tied).nonzero()
    rows, columns = pairs.unbind(1)
    counts = _counts(
        positive[rows, columns],
        within[rows, columns],
        tied[rows, columns],
        of_positives.squeeze(1)[rows],
        of_negatives.squeeze(1)[rows],
    )
    return torch.sparse_coo_tensor(pairs.T, counts, distances.shape, check_invariants=False, is_coalesced=True)


def _counts(positive: Tensor, within: Tensor, tied: Tensor, of_positives: Tensor, of_negatives: Tensor) -> Tensor:
    """Of pairs: 1 for a positive less its share in the places among the smallest."""
    dtype = of_positives.dtype
    share = torch.where(positive, of_positives, of_negatives)
    return positive.to(dtype) - torch.where(tied, share, within.to(dtype))
