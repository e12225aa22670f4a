"""Evaluation of a model on data sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tabulate import tabulate
from torch import nn

from fastreid_ext.config import CfgNode
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.evaluation.domains import is_transfer, specs_of
from fastreid_ext.evaluation.evaluators import EVALUATORS, ROC_ERROR, FeatureEvaluator
from fastreid_ext.evaluation.extraction import Extracted, UnreadableImagesError, extract
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.rankings import ranking_title
from fastreid_ext.evaluation.strategies import InferenceStrategies
from fastreid_ext.utils.dist import all_gather_objects, is_main_process
from fastreid_ext.utils.logger import get_logger

__all__ = [
    "EvaluationError",
    "Results",
    "UnreadableImagesError",
    "build_evaluator",
    "evaluate",
    "evaluate_extracted",
    "evaluate_features",
    "results_table",
]

_COPIES = 6

Results = dict[str, dict[str, Any]]


class EvaluationError(Exception):
    """Some data sets could not be evaluated, others were.

    Attributes:
        results: of those that were.
    """

    def __init__(self, results: Results, errors: Mapping[str, Exception]) -> None:
        self.results = results
        listed = "\n  ".join(
            str(error) if str(error).startswith(dataset) else f"{dataset}: {error}" for dataset, error in errors.items()
        )
        super().__init__(f"{len(errors)} of {len(errors) + len(results)} data sets cannot be evaluated:\n  {listed}")


def evaluate(
    cfg: CfgNode,
    model: nn.Module,
    datasets: Sequence[ReIDDataset],
    *,
    trained_on: Sequence[ReIDDataset | str] | None = None,
    stores: ImageStores | None = None,
    on_features: Callable[[FeatureSet], None] | None = None,
) -> Results:
    """Extracts features with `model` and evaluates every data set; all ranks call it and get the same results.

    Args:
        cfg: the config.
        model: takes a batch dict and returns embeddings in evaluation mode.
        datasets: with their protocols.
        trained_on: the model's training sets, bare specs for those whose files are not at hand. Results then say which
            test sets are of another domain, and modules that declare `seen_domain` are told; None says nothing.
        stores: where decoded images are kept; given again, they spare the next evaluation the decoding.
        on_features: called on the main process with the features of each data set, before they are evaluated.

    Raises:
        UnreadableImagesError: after all features of a data set are there, when some images could not be read and
            `TEST.SKIP_UNREADABLE` is off.
        ValueError: features cannot be evaluated.
        EvaluationError: one of both happened to some data sets, not to all; after all of them.
        OSError: on all ranks, when `on_features` raises it.
    """
    device = next(model.parameters()).device
    stores = stores or ImageStores.from_config(cfg, device)

    def features_of(dataset: ReIDDataset) -> Extracted:
        return extract(cfg, model, dataset, trained_on=trained_on, stores=stores)

    return evaluate_extracted(
        cfg,
        features_of,
        datasets,
        trained_on=trained_on,
        strategies=InferenceStrategies.from_config(cfg).describe(),
        device=device,
        on_features=on_features,
    )


def evaluate_extracted(
    cfg: CfgNode,
    features_of: Callable[[ReIDDataset], Extracted],
    datasets: Sequence[ReIDDataset],
    *,
    trained_on: Sequence[ReIDDataset | str] | None = None,
    strategies: Mapping[str, Any] | None = None,
    device: torch.device | str = "cpu",
    on_features: Callable[[FeatureSet], None] | None = None,
) -> Results:
    """As `evaluate`, with features that `features_of` gives.

    Args:
        cfg: the config.
        features_of: the features of a data set, asked for once each; may raise what `extract` raises.
        datasets: with their protocols.
        trained_on: see `evaluate`.
        strategies: how features are made, which results tell.
        device: where features are ranked, if they fit into its memory.
        on_features: see `evaluate`.

    Raises:
        UnreadableImagesError, ValueError, EvaluationError, OSError: see `evaluate`.
    """
    results: Results = {}
    errors: dict[str, UnreadableImagesError | ValueError] = {}
    evaluator = build_evaluator(cfg)
    for dataset in datasets:
        try:
            evaluator.check_sizes(dataset)
            feature_set, unreadable = features_of(dataset)
            _tell(on_features, feature_set)
            figures = evaluator(_where_they_fit(feature_set, torch.device(device)))
        except (UnreadableImagesError, ValueError) as error:
            errors[dataset.spec] = error
            continue
        told = {**(strategies or {}), **figures.get("strategies", {})}
        results[dataset.spec] = figures | ({"strategies": told} if told else {})
        if trained_on is not None:
            transfer = is_transfer(dataset, trained_on)
            results[dataset.spec] |= {"trained_on": specs_of(trained_on), "transfer": transfer}
        if unreadable:
            results[dataset.spec]["unreadable"] = unreadable
    if errors and results:
        raise EvaluationError(results, errors)
    if errors:
        raise next(iter(errors.values()))
    return results


def build_evaluator(cfg: CfgNode) -> FeatureEvaluator:
    """The evaluator that `TEST.EVALUATOR` names.

    Raises:
        RegistryError: there is none of that name.
        ImportError: it needs a package that is not installed.
    """
    evaluator: FeatureEvaluator = EVALUATORS.get(cfg.TEST.EVALUATOR)(cfg)
    return evaluator


def evaluate_features(
    cfg: CfgNode, feature_sets: Sequence[FeatureSet], *, device: torch.device | str = "cpu"
) -> Results:
    """Evaluates features as the config's `TEST` says; all ranks call it and get the same results.

    Args:
        cfg: the config.
        feature_sets: features of each data set.
        device: where to, if they fit into its memory.
    """
    evaluator = build_evaluator(cfg)
    return {features.name: evaluator(_where_they_fit(features, torch.device(device))) for features in feature_sets}


def results_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """A table with a row for each data set and each of its rankings; figures in percent.

    Of a test set of another domain than the training's the label is `training set -> test set`.
    """
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for dataset, figures in results.items():
        label = f"{', '.join(figures['trained_on'])} -> {dataset}" if figures.get("transfer") else dataset
        if "untrained" in figures:
            rows.append((f"{label} (untrained)", figures["untrained"]))
        rows.append((label, figures))
        for name, row in figures.get("with", {}).items():
            rows.append((f"{label} + {ranking_title(name)}", row))
    items = (item for _, row in rows for item in row.items())
    names = list(dict.fromkeys(name for name, value in items if isinstance(value, float) and name != ROC_ERROR))
    table = [[label, *(row.get(name) for name in names)] for label, row in rows]
    return tabulate(table, headers=["data set", *names], floatfmt=".1f", tablefmt="github")


def _tell(on_features: Callable[[FeatureSet], None] | None, feature_set: FeatureSet) -> None:
    """Calls it on the main process; the other ranks learn of a full disk, too, instead of waiting for ever."""
    failure = None
    if on_features is not None and is_main_process():
        try:
            on_features(feature_set)
        except OSError as error:
            failure = str(error)
    failures = [failure for failure in all_gather_objects(failure) if failure]
    if failures:
        raise OSError(failures[0])


def _where_they_fit(features: FeatureSet, device: torch.device) -> FeatureSet:
    """On the GPU when its free memory holds them several times: rankings keep copies of queries and gallery."""
    if device.type != "cuda":
        return features
    free, _ = torch.cuda.mem_get_info(device)
    values = features.values
    if values.numel() * values.element_size() * _COPIES > free:
        get_logger(__name__).info(f"{features.name}: the features do not fit into GPU memory, the CPU ranks them")
        return features.to("cpu")
    return features.to(device)
