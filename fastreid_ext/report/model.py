"""A model as a report needs it, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.data.build import build_test_sets
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.engine.trained_model import trained_model
from fastreid_ext.evaluation.evaluator import build_evaluator
from fastreid_ext.evaluation.evaluators import Evaluator
from fastreid_ext.evaluation.extraction import Extracted, extract
from fastreid_ext.evaluation.feature_files import has_suffix, is_feature_file, load_features, require_paths
from fastreid_ext.evaluation.feature_set import test_samples
from fastreid_ext.inference.checkpoint_embedder import checkpoint_config
from fastreid_ext.inference.features import features_of
from fastreid_ext.inference.fingerprint import fingerprint
from fastreid_ext.inference.open import EXPORTED, model_file, open_embedder
from fastreid_ext.inference.saved_config import embedding_options, saved_config
from fastreid_ext.modeling.checkpoint import read_checkpoint
from fastreid_ext.report.attention import Attention
from fastreid_ext.utils.download import is_url
from fastreid_ext.utils.logger import get_logger

__all__ = ["ReportModel", "TrainingSets", "open_model"]

TrainingSets = Callable[[CfgNode, Mapping[str, Any], Sequence[ReIDDataset]], Sequence[ReIDDataset | str]]
"""(config of the evaluation, checkpoint, test sets) -> what the checkpoint was trained on."""


@dataclass(frozen=True, eq=False)
class ReportModel:
    """What is asked of a model.

    Attributes:
        name: for people.
        file: that it is of.
        fingerprint: of the model; empty for features of a file.
        cfg: whose `TEST` says how features are ranked.
        extract: makes the features of the test set, which takes long.
        attention: draws where it looks; a sentence for people where it cannot.
    """

    name: str
    file: Path
    fingerprint: str
    cfg: CfgNode
    extract: Callable[[], Extracted]
    attention: Attention | str


def open_model(
    source: str, *, test_set: str = "", config: str = "", options: Sequence[Any] = (), training_sets: TrainingSets
) -> ReportModel:
    """The model of a run, a checkpoint or an exported file, or features that a model has given.

    Everything that can be wrong with it is found out here, before features are made.

    Args:
        source: the folder of a run, a checkpoint or its URL, an exported model, or a feature file.
        test_set: the data set; empty for the first of `DATASETS.TESTS`. Feature files have theirs.
        config: a file or a short name, for checkpoints without a config, and for feature files.
        options: `[KEY, value, KEY, value, ...]`, which win over the config.
        training_sets: finds what a checkpoint was trained on.

    Raises:
        CheckpointError, FeatureFileError: there is no such file, or it cannot be read.
        ConfigError: the config or an option does not fit, or asks for what has no ranking.
        DatasetError: the test set is not there.
        ValueError: the test set has too few images for what is asked.
    """
    options = [*options, *(["DATASETS.TESTS", (test_set,)] if test_set else [])]
    if is_feature_file(source):
        return _of_features(Path(source), config, options)
    path = source if is_url(source) else str(model_file(source))
    if has_suffix(path, *EXPORTED):
        return _of_export(path, options)
    return _of_checkpoint(path, config, options, training_sets)


def _of_features(path: Path, config: str, options: Sequence[Any]) -> ReportModel:
    cfg = load_config(config, options)
    _check_evaluator(cfg)
    features = load_features(path)
    require_paths(features, "a report")
    reason = "its features come from a file; give its checkpoint to see where it looks"
    return ReportModel(path.name, path.absolute(), "", cfg, lambda: (features, []), reason)


def _of_export(path: str, options: Sequence[Any]) -> ReportModel:
    if "DATASETS.TESTS" not in options[::2]:
        raise ConfigError(f"{path} is an exported model, which knows no test set: name one, --test-set Market1501")
    embedder = open_embedder(path, options=options)
    cfg = saved_config(embedder.card.config, source=path, options=options)
    dataset = _test_set(cfg)
    reason = "it is an exported model; give its checkpoint to see where it looks"

    def extracted() -> Extracted:
        features = features_of(embedder, dataset, skip_unreadable=cfg.TEST.SKIP_UNREADABLE)
        return features, sorted({sample.path for sample in test_samples(dataset)}.difference(features.paths))

    file = Path(path)
    return ReportModel(file.name, file.absolute(), embedder.card.fingerprint, cfg, extracted, reason)


def _of_checkpoint(path: str, config: str, options: Sequence[Any], training_sets: TrainingSets) -> ReportModel:
    state = read_checkpoint(path)
    cfg = checkpoint_config(state, path, config=config, options=options)
    if cfg.TEST.ENSEMBLE:
        raise ConfigError(
            "TEST.ENSEMBLE names several models: write their features with train_net.py --eval-only --save-features, "
            "and give that file"
        )
    dataset = _test_set(cfg)
    model = trained_model(cfg, state, source=path)
    trained_on = training_sets(cfg, state, [dataset])
    stores = ImageStores.from_config(cfg, next(model.parameters()).device)
    file = Path(path).absolute()
    return ReportModel(
        f"{file.parent.name}/{file.stem}",
        file,
        fingerprint(model, embedding_options(cfg)),
        cfg,
        lambda: extract(cfg, model, dataset, trained_on=trained_on, stores=stores),
        Attention.of(cfg, model),
    )


def _test_set(cfg: CfgNode) -> ReIDDataset:
    """The first test set, if its evaluation is one of rankings."""
    evaluator = _check_evaluator(cfg)
    if not cfg.DATASETS.TESTS:
        raise ConfigError("DATASETS.TESTS is empty: name a test set, --test-set Market1501")
    first, *others = cfg.DATASETS.TESTS
    if others:
        get_logger(__name__).info(f"{first} is shown, the first of DATASETS.TESTS; --test-set names another")
    only = cfg.clone()
    only.defrost()
    only.DATASETS.TESTS = (first,)
    dataset = build_test_sets(only)[0]
    evaluator.check_sizes(dataset)
    return dataset


def _check_evaluator(cfg: CfgNode) -> Evaluator:
    evaluator = build_evaluator(cfg)
    if not isinstance(evaluator, Evaluator):
        raise ConfigError(
            f"TEST.EVALUATOR {cfg.TEST.EVALUATOR} ranks no gallery, so there is nothing to show: "
            "take ReidEvaluator or RetrievalEvaluator"
        )
    return evaluator
