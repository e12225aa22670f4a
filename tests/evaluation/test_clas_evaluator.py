"""The accuracy of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.data.build import build_train_data
from fastreid_ext.data.datasets import DATASETS, ReIDDataset, build_dataset
from fastreid_ext.data.sample import Sample
from fastreid_ext.evaluation import ClasEvaluator, FeatureSet
from fastreid_ext.evaluation.evaluator import build_evaluator, evaluate, results_table
from fastreid_ext.modeling import build_model

OPTIONS = ["TEST.EVALUATOR", "ClasEvaluator", "TEST.BEST_METRIC", "Acc@1", "MODEL.HEADS.NAME", "ClasHead"]


def feature_set(pids: list[int], predictions: list[int], width: int = 3, **changes: Any) -> FeatureSet:
    values = torch.eye(width)[predictions] + 0.1
    everything = torch.arange(len(pids))
    empty = everything[:0]
    whole = FeatureSet("Set", values, torch.tensor(pids), torch.zeros_like(everything), [(everything, empty)])
    return replace(whole, **changes)


def evaluator() -> ClasEvaluator:
    return ClasEvaluator(labels={"Set": {10: 0, 30: 1}, "Other": {10: 2}})


def test_counts_images_whose_largest_logit_is_of_their_class() -> None:
    found = evaluator()(feature_set([10, 30, 30, 10, 30], [0, 1, 0, 2, 1]))
    assert found == {"Acc@1": pytest.approx(60.0), "images": 5, "classes": 3}
    assert evaluator()(feature_set([10, 10, 10], [2, 2, 0], name="Other"))["Acc@1"] == pytest.approx(200 / 3)


def test_query_and_gallery_count_once_and_junk_does_not() -> None:
    features = feature_set([10, 30, -1, 30], [0, 1, 0, 0])
    both = replace(features, trials=[(torch.tensor([0, 1]), torch.tensor([0, 1, 2, 3]))])
    assert evaluator()(both) == {"Acc@1": pytest.approx(200 / 3), "images": 3, "classes": 3}


@pytest.mark.parametrize(
    ("features", "said"),
    [
        (feature_set([10, 30], [0, 1], width=8), "gives 8 values of an image, but DATASETS.NAMES has 3 classes"),
        (feature_set([10, 20, 40], [0, 1, 1]), "Set: 2 identities of its test images are no classes.*: 20, 40"),
        (feature_set([10], [0], name="New"), "New: the classes .* none of the training sets Set, Other"),
        (feature_set([-1], [0]), "no readable test images"),
        (feature_set([10], [0], values=torch.full((1, 3), torch.nan)), "NaN or Inf"),
    ],
)
def test_what_cannot_be_classified_is_refused(features: FeatureSet, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        evaluator()(features)


def test_other_classes_are_refused_before_features_are_made() -> None:
    dataset = ReIDDataset()
    dataset.spec = "Set"
    dataset.query = [Sample("a.jpg", 10, 0), Sample("b.jpg", -1, 0)]
    evaluator().check_sizes(dataset)
    dataset.gallery = [Sample("c.jpg", 31, 0)]
    with pytest.raises(ValueError, match=r"Set: 1 identities .*: 31\. ClasEvaluator is for sets"):
        evaluator().check_sizes(dataset)


@pytest.fixture
def clas_config(market_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., CfgNode]:
    """Two sets of the same identity numbers; the last image of each identity is for the test, and there is no gallery,
    as in FastReID's sets for classification."""

    class Shapes(ReIDDataset):
        def __init__(self, root: Path, part: int = 0) -> None:
            super().__init__()
            folder = build_dataset(f"MarketLayout:{market_folder(f'part{part}', train_ids=3 + part)}")
            samples = [sample._replace(pid=7 * sample.pid) for sample in folder.train]
            last = {sample.pid: sample for sample in samples}
            self.query = list(last.values())
            self.train = [sample for sample in samples if sample not in self.query]

    monkeypatch.setitem(DATASETS._names, "Shapes", "Shapes")
    monkeypatch.setitem(DATASETS._entries, "Shapes", replace(next(iter(DATASETS)), name="Shapes", target=Shapes))

    def make(*options: Any) -> CfgNode:
        names = ("Shapes:part=0", "Shapes:part=1")
        network = ["MODEL.BACKBONE.NAME", "build_osnet_backbone", "MODEL.BACKBONE.DEPTH", "x0_25"]
        sizes = ["MODEL.DEVICE", "cpu", "INPUT.SIZE_TEST", [32, 16], "DATALOADER.NUM_WORKERS", 1]
        sets = ["DATASETS.NAMES", names, "DATASETS.TESTS", names[1:]]
        return load_config("", [*OPTIONS, *network, *sizes, *sets, "MODEL.HEADS.NUM_CLASSES", 7, *options])

    return make


def test_labels_of_test_images_are_those_of_the_training(clas_config: Callable[..., CfgNode]) -> None:
    cfg = clas_config()
    found = build_evaluator(cfg)
    assert isinstance(found, ClasEvaluator)
    assert found.labels == {"Shapes:part=0": {7: 0, 14: 1, 21: 2}, "Shapes:part=1": {7: 3, 14: 4, 21: 5, 28: 6}}
    data = build_train_data(cfg)
    raw = [sample.pid for dataset in data.datasets for sample in dataset.train]
    numbers = [0] * len(data.datasets[0].train) + [1] * len(data.datasets[1].train)
    of_samples = [found.labels[f"Shapes:part={part}"][pid] for part, pid in zip(numbers, raw, strict=True)]
    assert of_samples == [sample.pid for sample in data.samples]


def test_a_classifier_is_evaluated_with_its_logits(clas_config: Callable[..., CfgNode]) -> None:
    cfg = clas_config()
    model = build_model(cfg)
    with torch.no_grad():
        # Maps are not negative: always the class of the set's first identity.
        model.heads.weight.zero_()[3] = 1.0
    (dataset,) = (build_dataset(spec) for spec in cfg.DATASETS.TESTS)
    results = evaluate(cfg, model, [dataset])
    assert results == {"Shapes:part=1": {"Acc@1": pytest.approx(25.0), "images": 4, "classes": 7}}
    assert "Acc@1" in results_table(results)


def test_heads_that_embed_are_refused(clas_config: Callable[..., CfgNode]) -> None:
    with pytest.raises(ConfigError, match=r"MODEL\.HEADS\.NAME EmbeddingHead gives embeddings: take ClasHead"):
        build_evaluator(clas_config("MODEL.HEADS.NAME", "EmbeddingHead"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["TEST.BEST_METRIC", "mAP"], "TEST.BEST_METRIC is 'mAP'; choose one of Acc@1"),
        (["TEST.AQE.ENABLED", True], "TEST.AQE.ENABLED is on, but ClasEvaluator compares no images"),
        (["TEST.RERANK.ENABLED", True], "TEST.RERANK.ENABLED is on, but ClasEvaluator"),
    ],
)
def test_options_of_rankings_are_refused(options: list[Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config("", [*OPTIONS, *options])
