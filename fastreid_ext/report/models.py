"""One model, or two side by side: on the same test set, and told apart by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastreid_ext.evaluation.feature_files import has_suffix, is_feature_file
from fastreid_ext.inference.open import EXPORTED
from fastreid_ext.report.model import ReportModel, TrainingSets, open_model

__all__ = ["open_models"]


def open_models(
    sources: Sequence[str],
    *,
    test_set: str = "",
    config: str = "",
    options: Sequence[Any] = (),
    training_sets: TrainingSets,
) -> list[ReportModel]:
    """Opens each as `open_model` does. An exported model knows no test set: it takes that of a checkpoint beside it.

    Args:
        sources: one or two.
        test_set: see `open_model`, and the other arguments there.
        config: of checkpoints without one.
        options: of all.
        training_sets: of the checkpoints.

    Raises:
        CheckpointError, FeatureFileError, ConfigError, DatasetError, ValueError: see `open_model`.
    """
    models: dict[str, ReportModel] = {}
    asked_for = test_set or "DATASETS.TESTS" in options[::2]
    for source in sorted(sources, key=_is_exported):
        words = list(options) if asked_for or not _is_exported(source) else [*_test_set_of(models), *options]
        models[source] = open_model(
            source, test_set=test_set, config=config, options=words, training_sets=training_sets
        )
    return _told_apart([models[source] for source in sources])


def _is_exported(source: str) -> bool:
    return has_suffix(source, *EXPORTED) and not is_feature_file(source)


def _test_set_of(models: dict[str, ReportModel]) -> list[Any]:
    """The words that name the test set of a checkpoint."""
    for source, model in models.items():
        if not _is_exported(source) and not is_feature_file(source):
            data = model.cfg.DATASETS
            return ["DATASETS.TESTS", data.TESTS[:1], "DATASETS.ROOT", data.ROOT]
    return []


def _told_apart(models: list[ReportModel]) -> list[ReportModel]:
    """With as many folders before equal names as it takes."""
    deepest = max(len(model.file.parts) for model in models)
    for folders in range(deepest):
        names = [_name_with(model, folders) for model in models]
        if len(set(names)) == len(names):
            return [replace(model, name=name) for model, name in zip(models, names, strict=True)]
    return [replace(model, name=f"{model.name} ({number})") for number, model in enumerate(models, start=1)]


def _name_with(model: ReportModel, folders: int) -> str:
    own = model.name.count("/") + 1
    return "/".join([*model.file.parts[-own - folders : -own], model.name])
