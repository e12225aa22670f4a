"""From the features of a test set to its figures."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation.clustering import nmi, require_clustering
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.rank import RankMetrics, rank_metrics
from fastreid_ext.evaluation.rankings import Ranking, Rankings
from fastreid_ext.evaluation.retrieval import RetrievalMetrics
from fastreid_ext.evaluation.roc import roc_curve
from fastreid_ext.registry import Registry

__all__ = ["EVALUATORS", "Evaluator", "FeatureEvaluator", "ReidEvaluator", "RetrievalEvaluator"]

EVALUATORS = Registry("evaluator")
"""Subclasses of `FeatureEvaluator`, built with a config and called with the features of a data set: its figures.

Most rank, as subclasses of `Evaluator` do.
"""

RANKS = (1, 5, 10)
FALSE_POSITIVE_RATES = (1e-4, 1e-3, 1e-2)
ROC_ERROR = "TPR error"
"""Name of what the TPR figures may be too low by, in percent."""


class FeatureEvaluator(ABC):
    """From the features of a data set to figures in percent."""

    @abstractmethod
    def __call__(self, features: FeatureSet) -> dict[str, Any]:
        """Figures by name, with whatever else results are to tell.

        All processes of the run call it with the same features.

        Raises:
            ValueError: features cannot be evaluated.
        """

    @abstractmethod
    def check_sizes(self, dataset: ReIDDataset) -> None:
        """Refuses a data set that cannot be evaluated so, before its features are made.

        Raises:
            ValueError: why it cannot.
        """


class Evaluator(FeatureEvaluator):
    """Figures in percent of each ranking, averaged over the trials of a data set.

    Args:
        rankings: which rankings.
        roc: also measure verification: TPR at fixed FPR.

    Attributes:
        max_rank: how far the CMC goes that `figures` sees.
    """

    max_rank = 50

    @configurable
    def __init__(self, *, rankings: Rankings | None = None, roc: bool = False) -> None:
        self.rankings = rankings or Rankings()
        self.roc = roc

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"rankings": Rankings.from_config(cfg), "roc": cfg.TEST.ROC.ENABLED}

    def __call__(self, features: FeatureSet) -> dict[str, Any]:
        """Figures of the plain ranking; those of the others, where there are any, by name under "with", with options.

        All processes of the run call it with the same features.

        Raises:
            ValueError: features are not finite, query or gallery is empty, or no query has a match.
        """
        features.check()
        try:
            return self._evaluate(self.rankings.normalized(features))
        except ValueError as error:
            raise ValueError(f"{features.name}: {error}") from error

    def check_sizes(self, dataset: ReIDDataset) -> None:
        """Refuses options that ask more than the data set has, before its features are made.

        Raises:
            ValueError: it has too few images.
        """
        for query, gallery in dataset.trials():
            try:
                self.rankings.check(len(query), len(gallery), same=dataset.protocol.query_is_gallery)
            except ValueError as error:
                raise ValueError(f"{dataset.spec}: {error}") from error

    def _evaluate(self, features: FeatureSet) -> dict[str, Any]:
        found: dict[str, list[dict[str, Any]]] = {}
        for trial in features.trials:
            for name, figures in self._figures_of(features, *trial):
                found.setdefault(name, []).append(figures)
        averages = {name: _average(trials) for name, trials in found.items()}
        plain = averages.pop("")
        protocol = {**features.protocol.describe(), "metric": self.rankings.metric}
        others = {name: {**figures, "options": self.rankings.options(name)} for name, figures in averages.items()}
        strategies = self.rankings.strategies(features)
        more = ({"with": others} if others else {}) | ({"strategies": strategies} if strategies else {})
        return {**plain, "gallery": len(features.trials[0][1]), "protocol": protocol, **more}

    def _figures_of(self, features: FeatureSet, query: Tensor, gallery: Tensor) -> Iterator[tuple[str, dict[str, Any]]]:
        same = features.protocol.query_is_gallery
        labels = [ids[split] for ids in (features.pids, features.camids) for split in (query, gallery)]
        of_queries = features.values[query]
        of_gallery = of_queries if same else features.values[gallery]
        for name, ranking in self.rankings.of(of_queries, of_gallery, same=same):
            yield name, self._rank(ranking, labels, features.protocol) | self.more(ranking, labels[0], labels[1], same)

    def _rank(self, ranking: Ranking, labels: Sequence[Tensor], protocol: Protocol) -> dict[str, Any]:
        q_pids, g_pids, q_camids, g_camids = labels
        inputs = (ranking.query_features, ranking.gallery_features, q_pids, g_pids, q_camids, g_camids)
        options: dict[str, Any] = {"distances": ranking.distances, "metric": self.rankings.metric, "protocol": protocol}
        ranks = rank_metrics(*inputs, **options, max_rank=self.max_rank, shard=True)
        figures = self.figures(ranks)
        if self.roc:
            curve = roc_curve(*inputs, **options, shard=True)
            for fpr in FALSE_POSITIVE_RATES:
                figures[f"TPR@FPR={fpr:.0e}"] = 100 * curve.tpr_at(fpr)
            figures[ROC_ERROR] = 100 * max(curve.error_at(fpr) for fpr in FALSE_POSITIVE_RATES)
        return {**figures, "queries": ranks.num_valid, "queries_without_match": ranks.num_invalid}

    @abstractmethod
    def figures(self, ranks: RankMetrics) -> dict[str, float]:
        """Figures in percent, by name, of one ranking."""

    def more(self, ranking: Ranking, query_pids: Tensor, gallery_pids: Tensor, same: bool) -> dict[str, float]:
        """Figures in percent that ranks do not give; `same` says that the queries are the gallery."""
        return {}


@EVALUATORS.register(source="Zheng et al., ICCV 2015")
class ReidEvaluator(Evaluator):
    """CMC, mAP and mINP."""

    def figures(self, ranks: RankMetrics) -> dict[str, float]:
        cmc = {f"Rank-{rank}": 100 * float(ranks.cmc[rank - 1]) for rank in RANKS}
        return {"mAP": 100 * ranks.mAP, "mINP": 100 * ranks.mINP, **cmc}


@EVALUATORS.register(source="Musgrave et al., ECCV 2020")
class RetrievalEvaluator(Evaluator):
    """Recall@K, MAP@R, R-precision and mAP; the NMI of a clustering of all features.

    Args:
        rankings: which rankings.
        roc: also measure verification: TPR at fixed FPR.
        recalls: each K of Recall@K.
        clustering: also measure the NMI.
        seed: of the clustering.
    """

    @configurable
    def __init__(
        self,
        *,
        rankings: Rankings | None = None,
        roc: bool = False,
        recalls: Sequence[int] = (1, 2, 4, 8),
        clustering: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(rankings=rankings, roc=roc)
        self.recalls, self.clustering, self.seed = tuple(recalls), clustering, seed
        self.max_rank = max(recalls)
        if clustering:
            require_clustering()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        own = {"recalls": cfg.TEST.RECALLS, "clustering": cfg.TEST.NMI.ENABLED}
        return {**super().from_config(cfg), **own}

    def figures(self, ranks: RankMetrics) -> dict[str, float]:
        metrics = RetrievalMetrics.of(ranks, self.recalls)
        # Of the CMC, which is that of the single gallery shots where the protocol says so.
        recalls = {f"Recall@{k}": 100 * float(ranks.cmc[k - 1]) for k in self.recalls}
        others = {"MAP@R": 100 * metrics.map_at_r, "R-precision": 100 * metrics.r_precision, "mAP": 100 * ranks.mAP}
        return {**recalls, **others}

    def more(self, ranking: Ranking, query_pids: Tensor, gallery_pids: Tensor, same: bool) -> dict[str, float]:
        if not self.clustering or ranking.query_features is None or ranking.gallery_features is None:
            return {}
        features, pids = ranking.gallery_features, gallery_pids
        if not same:
            features, pids = torch.cat([ranking.query_features, features]), torch.cat([query_pids, pids])
        return {"NMI": 100 * nmi(features, pids, seed=self.seed, metric=self.rankings.metric)}


def _average(trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means of percentages, sums of counts."""
    averages = {}
    for name, value in trials[0].items():
        total = sum(trial[name] for trial in trials)
        averages[name] = total / len(trials) if isinstance(value, float) else total
    return averages
