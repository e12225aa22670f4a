"""Evaluation of a model on data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tabulate import tabulate
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.build import build_test_loader
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.data.sample import Sample
from fastreid_ext.evaluation.inference import Features, extract_features
from fastreid_ext.evaluation.rank import RankMetrics, rank_metrics
from fastreid_ext.functional.distances import Metric
from fastreid_ext.registry import Registry
from fastreid_ext.utils.logger import get_logger

__all__ = ["EVALUATORS", "ReidEvaluator", "UnreadableImagesError", "evaluate", "results_table"]

EVALUATORS = Registry("evaluator")
"""Classes built as `Evaluator(cfg)` and called as `evaluator(samples_features, dataset)`: metrics of one data set."""

RANKS = (1, 5, 10)
_LISTED = 20

Results = dict[str, dict[str, Any]]


class UnreadableImagesError(Exception):
    """Test images that could not be read: the figures would be of another data set than the one named."""

    def __init__(self, errors: Sequence[UnreadableImage]) -> None:
        self.errors = list(errors)
        listed = "\n  ".join(str(error) for error in self.errors[:_LISTED])
        if len(self.errors) > _LISTED:
            listed += f"\n  and {len(self.errors) - _LISTED} more"
        super().__init__(
            f"{len(self.errors)} test images cannot be read:\n  {listed}\n"
            f"Mend them, or set TEST.SKIP_UNREADABLE True to evaluate without them."
        )


@EVALUATORS.register(source="Zheng et al., ICCV 2015")
class ReidEvaluator:
    """CMC, mAP and mINP in percent.

    Args:
        metric: of the distances between embeddings.
    """

    @configurable
    def __init__(self, *, metric: Metric = "cosine") -> None:
        self.metric: Metric = metric

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"metric": cfg.TEST.METRIC}

    def __call__(self, features: Mapping[Sample, Tensor], dataset: ReIDDataset) -> dict[str, Any]:
        """Metrics averaged over the data set's trials.

        Args:
            features: embedding of each readable sample, (D,).
            dataset: says which samples are query and gallery.
        """
        trials = [self._rank(features, query, gallery, dataset) for query, gallery in dataset.trials()]
        values: dict[str, Any] = {
            "mAP": _mean_percent([trial.mAP for trial in trials]),
            "mINP": _mean_percent([trial.mINP for trial in trials]),
        }
        for rank in RANKS:
            values[f"Rank-{rank}"] = _mean_percent([float(trial.cmc[rank - 1]) for trial in trials])
        values["queries"] = sum(trial.num_valid for trial in trials)
        values["queries_without_match"] = sum(trial.num_invalid for trial in trials)
        values["protocol"] = {**dataset.protocol.describe(), "metric": self.metric}
        return values

    def _rank(
        self,
        features: Mapping[Sample, Tensor],
        query: Sequence[Sample],
        gallery: Sequence[Sample],
        dataset: ReIDDataset,
    ) -> RankMetrics:
        query = [sample for sample in query if sample in features]
        gallery = [sample for sample in gallery if sample in features]
        if not query or not gallery:
            raise ValueError(
                f"{dataset.spec} has {len(query)} readable query and {len(gallery)} readable gallery images: "
                f"nothing to evaluate"
            )
        return rank_metrics(
            torch.stack([features[sample] for sample in query]),
            torch.stack([features[sample] for sample in gallery]),
            [sample.pid for sample in query],
            [sample.pid for sample in gallery],
            [sample.camid for sample in query],
            [sample.camid for sample in gallery],
            metric=self.metric,
            protocol=dataset.protocol,
        )


def evaluate(
    cfg: CfgNode, model: nn.Module, datasets: Sequence[ReIDDataset], *, stores: ImageStores | None = None
) -> Results:
    """Extracts features with `model` and evaluates every data set; all ranks call it and get the same results.

    Args:
        cfg: the config.
        model: takes a batch dict and returns embeddings in evaluation mode.
        datasets: with their protocols.
        stores: where decoded images are kept; given again, they spare the next evaluation the decoding.

    Raises:
        UnreadableImagesError: after all features are there, when some images could not be read and
            `TEST.SKIP_UNREADABLE` is off.
    """
    results: Results = {}
    device = next(model.parameters()).device
    evaluator = EVALUATORS.get(cfg.TEST.EVALUATOR)(cfg)
    stores = stores or ImageStores.from_config(cfg, device)
    for dataset in datasets:
        samples = list(dict.fromkeys(s for trial in dataset.trials() for split in trial for s in split))
        loader = build_test_loader(cfg, samples, device=device, stores=stores, label=f"{type(dataset).__name__}-test")
        extracted = extract_features(model, loader, flip=cfg.TEST.FLIP.ENABLED)
        results[dataset.spec] = evaluator(_by_sample(cfg, samples, extracted), dataset)
        if extracted.unreadable:
            results[dataset.spec]["unreadable"] = sorted(error.path for error in extracted.unreadable)
    return results


def results_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A table with a row for each data set; metrics in percent."""
    names = ["mAP", "mINP", *(f"Rank-{rank}" for rank in RANKS)]
    rows = []
    for dataset, metrics in results.items():
        if "untrained" in metrics:
            rows.append([f"{dataset} (untrained)", *(metrics["untrained"][name] for name in names)])
        rows.append([dataset, *(metrics[name] for name in names)])
    return tabulate(rows, headers=["data set", *names], floatfmt=".1f", tablefmt="github")


def _by_sample(cfg: CfgNode, samples: Sequence[Sample], extracted: Features) -> dict[Sample, Tensor]:
    if extracted.unreadable:
        if not cfg.TEST.SKIP_UNREADABLE:
            raise UnreadableImagesError(extracted.unreadable)
        get_logger(__name__).warning(f"evaluating without {len(extracted.unreadable)} unreadable images")
    return {samples[i]: row for i, row in zip(extracted.indices.tolist(), extracted.values, strict=True)}


def _mean_percent(values: Sequence[float]) -> float:
    return 100 * sum(values) / len(values)
