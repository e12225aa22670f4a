"""The ways of ranking a gallery that a config asks for: plain, expanded, re-ranked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from fastreid_ext.config import CfgNode
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.query_expansion import average_query_expansion
from fastreid_ext.evaluation.rank_inputs import DistanceSource
from fastreid_ext.evaluation.reciprocal import ReciprocalRule
from fastreid_ext.evaluation.rerank import reranked_distances
from fastreid_ext.functional.beta_norm import beta_normalize
from fastreid_ext.functional.distances import Metric

__all__ = ["Ranking", "Rankings", "ranking_title", "rerank_variant"]


@dataclass(frozen=True, eq=False)
class Ranking:
    """What `rank_metrics` and `roc_curve` rank by: features, or distances in their place."""

    query_features: Tensor | None
    gallery_features: Tensor | None
    distances: DistanceSource | None = None


@dataclass(frozen=True)
class Rankings:
    """A plain ranking and what post-processing makes of it, each by itself and all together.

    Attributes:
        metric: of the distances.
        expansion: arguments of `average_query_expansion`; None for none.
        reranking: arguments of `reranked_distances`; None for none.
        beta: of the normalisation of all features; None leaves those of one model as they are.
    """

    metric: Metric = "cosine"
    expansion: Mapping[str, Any] | None = None
    reranking: Mapping[str, Any] | None = None
    beta: float | None = None

    def distance(self, ranking: str = "") -> str:
        """What is between two images, for people; re-ranking makes distances of its own.

        Args:
            ranking: its name.
        """
        if "rerank" in ranking:
            return "re-ranked distance"
        return f"{'squared Euclidean' if self.metric == 'euclidean' else 'cosine'} distance"

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Rankings:
        """As `TEST.METRIC`, `TEST.AQE` and `TEST.RERANK` say."""
        aqe, rerank = cfg.TEST.AQE, cfg.TEST.RERANK
        return cls(
            cfg.TEST.METRIC,
            {"k": aqe.QE_K, "alpha": aqe.ALPHA, "times": aqe.QE_TIME} if aqe.ENABLED else None,
            _reranking(cfg) if rerank.ENABLED else None,
            cfg.TEST.BETA_NORM.BETA if cfg.TEST.BETA_NORM.ENABLED else None,
        )

    def normalized(self, features: FeatureSet) -> FeatureSet:
        """The features that are ranked; those of several models have equal say, as their parts have length 1."""
        if self.beta is None and len(features.parts) < 2:
            return features
        return replace(features, values=beta_normalize(features.values, self.beta or 0.0, features.parts))

    def strategies(self, features: FeatureSet) -> dict[str, Any]:
        """What `normalized` does to these features, for results.json."""
        beta = {} if self.beta is None else {"beta_norm": self.beta}
        return beta | ({"parts": list(features.parts)} if len(features.parts) > 1 else {})

    def of(self, query: Tensor, gallery: Tensor, *, same: bool = False) -> Iterator[tuple[str, Ranking]]:
        """The rankings by name: "" is the plain one, then "aqe", "rerank", "aqe+rerank" as far as asked for.

        All processes of the run iterate with the same arguments.

        Args:
            query: features of the queries.
            gallery: features of the gallery.
            same: the queries are the gallery.

        Shape:
            query: (Q, D). gallery: (G, D).
        """
        yield "", Ranking(query, gallery)
        expanded = None
        if self.expansion is not None:
            expanded = average_query_expansion(query, None if same else gallery, **self.expansion, shard=True)
            yield "aqe", Ranking(*expanded)
        if self.reranking is not None:
            yield "rerank", self._reranked(query, gallery, same)
        if self.reranking is not None and expanded is not None:
            yield "aqe+rerank", self._reranked(*expanded, same)

    def check(self, queries: int, gallery: int, *, same: bool = False) -> None:
        """Refuses what so few images cannot give.

        Args:
            queries: number of queries.
            gallery: number of gallery images.
            same: the queries are the gallery.

        Raises:
            ValueError: neighbourhoods are larger than the set.
        """
        images = gallery if same else queries + gallery
        if self.expansion is not None and self.expansion["k"] > images:
            raise ValueError(f"k of the expansion is {self.expansion['k']}, but there are {images} images.")
        if self.reranking is not None:
            rule = {name: self.reranking[name] for name in ("k1", "k2", "variant") if name in self.reranking}
            ReciprocalRule(**rule).check(images, gallery)

    def options(self, name: str) -> dict[str, Any]:
        """The arguments behind a ranking, for results.json."""
        used = {"aqe": self.expansion, "rerank": self.reranking}
        return {part: dict(used[part] or {}) for part in name.split("+")}

    def _reranked(self, query: Tensor, gallery: Tensor, same: bool) -> Ranking:
        options = {} if self.reranking is None else self.reranking
        distances = reranked_distances(query, None if same else gallery, metric=self.metric, **options, shard=True)
        return Ranking(None, None, distances)


def _reranking(cfg: CfgNode) -> dict[str, Any]:
    rerank = cfg.TEST.RERANK
    options = {"k1": rerank.K1, "k2": rerank.K2, "lambda_value": rerank.LAMBDA, "variant": rerank_variant(cfg)}
    # Exact unless it is said, as in all results before.
    return options | ({"index": rerank.INDEX} if rerank.INDEX else {})


def ranking_title(name: str) -> str:
    """A ranking's name for people: `"aqe+rerank"` becomes "AQE + rerank"."""
    return name.replace("+", " + ").replace("aqe", "AQE")


def rerank_variant(cfg: CfgNode) -> str:
    """Whose re-ranking it is."""
    return "fastreid" if cfg.COMPAT.RERANK else str(cfg.TEST.RERANK.VARIANT)
