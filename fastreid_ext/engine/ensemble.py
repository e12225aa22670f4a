"""Several checkpoints evaluated as one model: their features stand side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.engine.checkpoint import CheckpointError, read_checkpoint
from fastreid_ext.engine.trained_model import own_config, trained_model
from fastreid_ext.evaluation.domains import specs_of
from fastreid_ext.evaluation.evaluator import Results, build_evaluator, evaluate_extracted
from fastreid_ext.evaluation.extraction import Extracted, UnreadableImagesError, extract
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.side_by_side import side_by_side
from fastreid_ext.evaluation.strategies import InferenceStrategies, check_strategies
from fastreid_ext.modeling.meta_arch import choose_device
from fastreid_ext.utils.download import is_url
from fastreid_ext.utils.logger import get_logger

__all__ = ["evaluate_ensemble", "refuse_ensemble"]

TrainingSets = Sequence[ReIDDataset | str]


def refuse_ensemble(cfg: CfgNode) -> None:
    """Refuses a training whose evaluations would be of several models.

    Raises:
        ConfigError: `TEST.ENSEMBLE` names checkpoints.
    """
    if cfg.TEST.ENSEMBLE:
        raise ConfigError(
            "TEST.ENSEMBLE names checkpoints, but a training evaluates its own model: empty it, and evaluate the "
            "ensemble with --eval-only, MODEL.WEIGHTS and TEST.ENSEMBLE once all are trained"
        )


def evaluate_ensemble(
    cfg: CfgNode,
    first: str,
    datasets: Sequence[ReIDDataset],
    *,
    training_sets: Callable[[Mapping[str, Any]], TrainingSets],
    on_features: Callable[[FeatureSet], None] | None = None,
) -> Results:
    """Evaluates a checkpoint and those of `TEST.ENSEMBLE` together; all ranks call it and get the same results.

    The first is a model of `cfg`, each other one of the config in its checkpoint, if there is one. Their features come
    one model after the other, and are normalised each by itself.

    Args:
        cfg: the config of the evaluation.
        first: path of the first checkpoint.
        datasets: with their protocols.
        training_sets: what the model of a checkpoint was trained on; the ensemble is trained on all of them.
        on_features: called on the main process with the joined features of each data set, before they are evaluated.

    Raises:
        CheckpointError: a file is missing, cannot be read or does not fit, found out before features are made.
        ConfigError: a checkpoint is named twice, or its config or an option does not fit.
        UnreadableImagesError, ValueError, EvaluationError, OSError: see `evaluate`.
    """
    paths = [first, *cfg.TEST.ENSEMBLE]
    _check_paths(paths)
    for path in paths:
        check_strategies(*_load(cfg, path, own=path != first)[:2])
    device = choose_device(cfg.MODEL.DEVICE)
    stores = ImageStores.from_config(cfg, device)
    features = _Features(cfg, datasets)
    trained_on: dict[str, ReIDDataset | str] = {}
    for path in paths:
        get_logger(__name__).info(f"features of {path}")
        # A model is let go of before the next one is made.
        sets = _add(features, _load(cfg, path, own=path != first), training_sets, stores)
        trained_on |= dict(zip(specs_of(sets), sets, strict=True))
    return evaluate_extracted(
        cfg,
        features,
        datasets,
        trained_on=list(trained_on.values()),
        strategies={**InferenceStrategies.from_config(cfg).describe(), "ensemble": paths},
        device=device,
        on_features=on_features,
    )


class _Features:
    """The features of data sets, model by model; what is wrong with one set does not keep the others from theirs."""

    def __init__(self, cfg: CfgNode, datasets: Sequence[ReIDDataset]) -> None:
        self._found: dict[str, list[Extracted]] = {dataset.spec: [] for dataset in datasets}
        self._errors: dict[str, UnreadableImagesError | ValueError] = {}
        self._datasets = {dataset.spec: dataset for dataset in datasets}
        evaluator = build_evaluator(cfg)
        self._of_each(evaluator.check_sizes)

    def add(self, extracted: Callable[[ReIDDataset], Extracted]) -> None:
        """Those of one more model."""
        self._of_each(lambda dataset: self._found[dataset.spec].append(extracted(dataset)))

    def __call__(self, dataset: ReIDDataset) -> Extracted:
        """Those of all models side by side."""
        if dataset.spec in self._errors:
            raise self._errors[dataset.spec]
        sets, unreadable = zip(*self._found[dataset.spec], strict=True)
        return side_by_side(sets), sorted({path for paths in unreadable for path in paths})

    def _of_each(self, call: Callable[[ReIDDataset], None]) -> None:
        for spec, dataset in self._datasets.items():
            if spec not in self._errors:
                try:
                    call(dataset)
                except (UnreadableImagesError, ValueError) as error:
                    self._errors[spec] = error


Loaded = tuple[CfgNode, nn.Module, Mapping[str, Any]]


def _add(
    features: _Features, loaded: Loaded, training_sets: Callable[[Mapping[str, Any]], TrainingSets], stores: ImageStores
) -> TrainingSets:
    cfg, model, state = loaded
    trained_on = training_sets(state)
    features.add(lambda dataset: extract(cfg, model, dataset, trained_on=trained_on, stores=stores))
    return trained_on


def _load(cfg: CfgNode, path: str, *, own: bool) -> Loaded:
    state = read_checkpoint(path)
    cfg = own_config(cfg, state, source=path) if own else cfg
    return cfg, trained_model(cfg, state, source=path), state


def _check_paths(paths: Sequence[str]) -> None:
    missing = [path for path in paths if not is_url(path) and not Path(path).is_file()]
    if missing:
        raise CheckpointError(f"no checkpoint {', '.join(str(Path(path).absolute()) for path in missing)}")
    files = [path if is_url(path) else Path(path).resolve() for path in paths]
    twice = [path for number, path in enumerate(paths) if files[number] in files[:number]]
    if twice:
        raise ConfigError(
            f"TEST.ENSEMBLE: {', '.join(twice)} is there more than once, MODEL.WEIGHTS included: name each checkpoint "
            f"once"
        )
