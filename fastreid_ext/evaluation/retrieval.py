"""Metrics of image retrieval: Recall@K, R-precision and MAP@R."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation.rank import RankMetrics, rank_metrics
from fastreid_ext.evaluation.rank_inputs import Features, Ids
from fastreid_ext.functional.distances import Metric

__all__ = ["RetrievalMetrics", "recall_at_k", "retrieval_metrics"]

_KS = (1, 2, 4, 8)


@dataclass(frozen=True)
class RetrievalMetrics:
    """How well images of a query's identity are found, as shares; averages over the queries that have a match.

    Attributes:
        recall: for each K, share of queries with a match among the first K images (Recall@K).
        r_precision: share of matches among a query's first R images, for its number R of matches.
        map_at_r: precision at each match among the first R, summed and divided by R (MAP@R; Musgrave et al., "A Metric
            Learning Reality Check", ECCV 2020).
        num_valid: number of queries with a match.
        num_invalid: number of queries without one, left out of all averages.
    """

    recall: dict[int, float]
    r_precision: float
    map_at_r: float
    num_valid: int
    num_invalid: int

    @classmethod
    def of(cls, ranks: RankMetrics, ks: Sequence[int] = _KS) -> RetrievalMetrics:
        """The retrieval metrics of a ranking.

        Raises:
            ValueError: `ks` is empty or holds a number below 1.
        """
        if not ks or min(ks) < 1:
            raise ValueError(f"ks are numbers of images, each at least 1; got {tuple(ks)}.")
        valid = ranks.first_match > 0
        first = ranks.first_match[valid]
        return cls(
            recall={k: float((first <= k).double().mean()) for k in ks},
            r_precision=float(ranks.r_precision[valid].mean()),
            map_at_r=float(ranks.ap_at_r[valid].mean()),
            num_valid=ranks.num_valid,
            num_invalid=ranks.num_invalid,
        )


def retrieval_metrics(
    query_features: Features,
    query_pids: Ids,
    gallery_features: Features | None = None,
    gallery_pids: Ids | None = None,
    *,
    ks: Sequence[int] = _KS,
    metric: Metric = "cosine",
) -> RetrievalMetrics:
    """Recall@K, R-precision and MAP@R from one ranking, without a camera rule.

    Without a gallery every image is a query among all others (CUB-200-2011, Cars196, SOP); copies of an image at other
    places are others. With one, all of it counts for every query (In-Shop). Ties go to the lower gallery index.
    Queries without a match are left out and counted, as in `rank_metrics`.

    Shape:
        query_features: (Q, D). gallery_features: (G, D).
        query_pids: (Q,). gallery_pids: (G,).

    Raises:
        ValueError: empty, ill-fitting or non-finite input, a gallery of features or pids alone, `ks` out of range, or
            no query has a match.
    """
    if (gallery_features is None) != (gallery_pids is None):
        raise ValueError("gallery_features and gallery_pids belong together: give both or neither.")
    if gallery_features is None or gallery_pids is None:
        protocol = Protocol(camera_rule=False, query_is_gallery=True)
        ranks = rank_metrics(query_features, query_features, query_pids, query_pids, metric=metric, protocol=protocol)
    else:
        protocol = Protocol(camera_rule=False)
        ranks = rank_metrics(
            query_features, gallery_features, query_pids, gallery_pids, metric=metric, protocol=protocol
        )
    return RetrievalMetrics.of(ranks, ks)


def recall_at_k(
    query_features: Features,
    query_pids: Ids,
    gallery_features: Features | None = None,
    gallery_pids: Ids | None = None,
    *,
    ks: Sequence[int] = _KS,
    metric: Metric = "cosine",
) -> dict[int, float]:
    """Share of queries with a match among the first K images, for each K; see `retrieval_metrics`.

    Shape:
        query_features: (Q, D). gallery_features: (G, D).
        query_pids: (Q,). gallery_pids: (G,).

    Raises:
        ValueError: as `retrieval_metrics`.
    """
    return retrieval_metrics(query_features, query_pids, gallery_features, gallery_pids, ks=ks, metric=metric).recall
