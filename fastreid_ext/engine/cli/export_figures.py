"""What exported files are worth on the test sets of their run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tabulate import tabulate

from fastreid_ext.config import CfgNode
from fastreid_ext.data.datasets import DatasetError, ReIDDataset, build_dataset
from fastreid_ext.engine.trained_model import trained_model
from fastreid_ext.evaluation.evaluator import Results, evaluate, evaluate_features, results_table
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.export.check import largest_difference
from fastreid_ext.inference import CheckpointEmbedder, Embedder
from fastreid_ext.inference.features import features_of
from fastreid_ext.modeling.checkpoint import read_checkpoint
from fastreid_ext.utils.logger import get_logger

__all__ = ["compare_with_each_other", "compare_with_evaluation"]

_EVALUATION = "evaluation"


def compare_with_each_other(cfg: CfgNode, embedders: Mapping[str, Embedder]) -> None:
    """Prints what the evaluation says of each model in use, on the test sets that are there."""
    results: Results = {}
    for dataset in _test_sets(cfg):
        for kind, embedder in embedders.items():
            results |= _figures(cfg, kind, _features(cfg, embedder, dataset))
    _print(results)


def compare_with_evaluation(checkpoint: CheckpointEmbedder, files: Mapping[str, Embedder]) -> None:
    """Prints what the evaluation says of a checkpoint, of a Predictor and of files made of it, and how far their
    embeddings are from the evaluation's, on the test sets that are there.

    Raises:
        UnreadableImagesError: see `evaluate`.
    """
    cfg, results, rows = checkpoint.cfg, Results(), []
    # As it was trained: the one in use has its batch norms folded.
    model = trained_model(cfg, read_checkpoint(checkpoint.source), source=checkpoint.source)
    for dataset in _test_sets(cfg):
        kept: list[FeatureSet] = []
        (figures,) = evaluate(cfg, model, [dataset], on_features=kept.append).values()
        results[f"{dataset.spec}, {_EVALUATION}"] = figures
        for kind, embedder in {"Predictor": checkpoint, **files}.items():
            features = _features(cfg, embedder, dataset)
            results |= _figures(cfg, kind, features)
            rows.append(
                [dataset.spec, kind, len(features.values), f"{largest_difference(features.values, kept[0].values):.1e}"]
            )
    _print(results)
    if rows:
        headers = ["data set", "by", "images", "difference"]
        print(f"\n{tabulate(rows, headers, tablefmt='github', disable_numparse=True)}")
        print("difference: from the embeddings of the evaluation, the largest of values of embeddings of length 1")


def _test_sets(cfg: CfgNode) -> Iterator[ReIDDataset]:
    for spec in cfg.DATASETS.TESTS:
        try:
            yield build_dataset(spec, cfg.DATASETS.ROOT)
        except DatasetError as error:
            get_logger(__name__).warning(f"mAP is not known: {error}")


def _features(cfg: CfgNode, embedder: Embedder, dataset: ReIDDataset) -> FeatureSet:
    return features_of(embedder, dataset, skip_unreadable=cfg.TEST.SKIP_UNREADABLE)


def _figures(cfg: CfgNode, kind: str, features: FeatureSet) -> Results:
    (figures,) = evaluate_features(cfg, [features]).values()
    return {f"{features.name}, {kind}": figures}


def _print(results: Results) -> None:
    if results:
        print(f"\n{results_table(results)}")
