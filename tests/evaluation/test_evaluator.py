"""From a model and a data set to results: features, flip, trials, tables."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, load_config
from fastreid_ext.data.build import build_test_loader
from fastreid_ext.data.datasets import MarketLayout, ReIDDataset
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.data.trials import vehicleid_trial
from fastreid_ext.evaluation import FeatureSet, rank_metrics
from fastreid_ext.evaluation.evaluator import EvaluationError, UnreadableImagesError, evaluate, results_table
from fastreid_ext.evaluation.inference import eval_mode, extract_features
from fastreid_ext.registry import RegistryError


class Model(nn.Module):
    """Embeds an image by its two upper rows, less their mean colour: some information, much noise."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1 / 255))
        self.dropout = nn.Dropout()

    def forward(self, batch: dict[str, Any]) -> Tensor:
        rows = (batch["images"] * self.scale)[:, :, :2].mean(2)
        return self.dropout((rows - 0.9 * rows.mean((1, 2), keepdim=True)).flatten(1))


@pytest.fixture
def cfg() -> CfgNode:
    return load_config("", ["INPUT.SIZE_TEST", [32, 16], "TEST.IMS_PER_BATCH", 5])


@pytest.fixture
def dataset(market_folder: Callable[..., Path], tmp_path: Path) -> MarketLayout:
    return MarketLayout(tmp_path, str(market_folder(test_ids=6, cameras=3)))


def changed(cfg: CfgNode, *options: Any) -> CfgNode:
    cfg = cfg.clone()
    cfg.defrost()
    cfg.merge_from_list(options)
    return cfg


def test_features_are_in_the_order_of_the_samples(cfg: CfgNode, dataset: MarketLayout) -> None:
    model = Model()
    whole = extract_features(model, build_test_loader(cfg, dataset.gallery, device="cpu"))
    assert whole.indices.tolist() == list(range(len(dataset.gallery))) and not whole.unreadable
    single = extract_features(model, build_test_loader(cfg, dataset.gallery[7:8], device="cpu"))
    torch.testing.assert_close(single.values[0], whole.values[7])


@pytest.mark.parametrize("kind", ["device", "mmap"])
def test_only_the_first_evaluation_decodes(
    cfg: CfgNode, dataset: MarketLayout, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, size: tuple[int, int]) -> Tensor:
        raise AssertionError(f"{path} is decoded again")

    stores = ImageStores.from_config(changed(cfg, "DATALOADER.STORE", kind), "cpu")
    first = evaluate(cfg, Model(), [dataset], stores=stores)
    monkeypatch.setattr("fastreid_ext.data.decode.decode", refuse)
    assert evaluate(cfg, Model(), [dataset], stores=stores) == first
    with pytest.raises(AssertionError, match="is decoded again"):
        evaluate(changed(cfg, "DATALOADER.STORE", "device"), Model(), [dataset])


def test_flip_averages_both_and_leaves_the_images_alone(cfg: CfgNode, dataset: MarketLayout) -> None:
    plain = extract_features(Model(), build_test_loader(cfg, dataset.query, device="cpu")).values
    both = extract_features(Model(), build_test_loader(cfg, dataset.query, device="cpu"), flip=True).values
    mirrored = plain.view(-1, 3, 16).flip(-1).flatten(1)
    torch.testing.assert_close(both, (plain + mirrored) / 2)


def test_evaluation_restores_every_modules_mode() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout())
    model.train()
    model[0].eval()
    with eval_mode(model):
        assert not model[1].training
    assert model.training and model[1].training and not model[0].training


def test_results_equal_rank_metrics(cfg: CfgNode, dataset: MarketLayout) -> None:
    results = evaluate(cfg, Model(), [dataset])[dataset.spec]
    features = [
        extract_features(Model(), build_test_loader(cfg, part, device="cpu")).values
        for part in (dataset.query, dataset.gallery)
    ]
    ids = [[sample.pid for sample in part] for part in (dataset.query, dataset.gallery)]
    cameras = [[sample.camid for sample in part] for part in (dataset.query, dataset.gallery)]
    expected = rank_metrics(*features, *ids, *cameras, metric="cosine")
    assert results["mAP"] == pytest.approx(100 * expected.mAP)
    assert results["mINP"] == pytest.approx(100 * expected.mINP)
    assert [results[f"Rank-{k}"] for k in (1, 5, 10)] == pytest.approx(
        [100 * float(expected.cmc[k - 1]) for k in (1, 5, 10)]
    )
    assert results["queries"] == 18 and results["queries_without_match"] == 0
    assert results["protocol"]["camera_rule"] is True and results["protocol"]["metric"] == "cosine"


def test_trials_are_averaged(cfg: CfgNode, dataset: MarketLayout) -> None:
    samples = [*dataset.query, *dataset.gallery]
    pids = torch.tensor([sample.pid for sample in samples])
    splits = [vehicleid_trial(pids, seed) for seed in range(3)]
    parts = [tuple([samples[i] for i in indices.tolist()] for indices in split) for split in splits]

    class Trials(ReIDDataset):
        protocol = Protocol(camera_rule=False, trials=3)

        def trials(self) -> Any:
            return parts

    averaged = evaluate(cfg, Model(), [Trials()])["Trials"]["mAP"]
    single = []
    for query, gallery in parts:
        one = ReIDDataset()
        one.protocol = Protocol(camera_rule=False)
        one.query, one.gallery = query, gallery
        single.append(evaluate(cfg, Model(), [one])["ReIDDataset"]["mAP"])
    assert averaged == pytest.approx(sum(single) / 3)
    assert len(set(single)) > 1


def test_a_set_that_is_its_own_gallery_leaves_the_query_out(cfg: CfgNode, dataset: MarketLayout) -> None:
    own = ReIDDataset()
    own.protocol = Protocol(camera_rule=False, query_is_gallery=True)
    own.query = own.gallery = dataset.gallery
    results = evaluate(cfg, Model(), [own])["ReIDDataset"]
    assert results["queries"] == len(dataset.gallery)
    # Found itself, every query would have a perfect first rank.
    assert results["Rank-1"] < 100


def test_unreadable_images_fail_at_the_end_or_are_left_out(cfg: CfgNode, dataset: MarketLayout) -> None:
    bad = [dataset.query[3].path, dataset.gallery[5].path]
    for path in bad:
        Path(path).write_bytes(b"\xff\xd8")
    with pytest.raises(UnreadableImagesError, match="2 test images cannot be read") as caught:
        evaluate(cfg, Model(), [dataset])
    assert all(path in str(caught.value) for path in bad)
    cfg = changed(cfg, "TEST.SKIP_UNREADABLE", True)
    results = evaluate(cfg, Model(), [dataset])[dataset.spec]
    assert results["unreadable"] == sorted(bad) and results["queries"] == 17
    for sample in dataset.query:
        Path(sample.path).write_bytes(b"")
    with pytest.raises(ValueError, match="has 0 readable query"):
        evaluate(cfg, Model(), [dataset])


def test_what_one_set_lacks_does_not_cost_the_others(cfg: CfgNode, dataset: MarketLayout) -> None:
    small = ReIDDataset()
    small.spec = "Small"
    small.query, small.gallery = dataset.query[:2], dataset.gallery[:4]
    cfg = changed(cfg, "TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 8)
    expected = evaluate(cfg, Model(), [dataset])
    for order in ([small, dataset], [dataset, small]):
        with pytest.raises(EvaluationError, match=r"1 of 2 data sets cannot be evaluated:\n  Small: .*k1") as caught:
            evaluate(cfg, Model(), order)
        assert caught.value.results == expected
    with pytest.raises(ValueError, match="k1 must be between 1 and the 4 images of the gallery"):
        evaluate(cfg, Model(), [small])


class DomainModel(Model):
    """Has no use for images of other domains."""

    seen_domain = True

    def forward(self, batch: dict[str, Any]) -> Tensor:
        embeddings = super().forward(batch)
        return embeddings if self.seen_domain else torch.ones_like(embeddings)


def test_results_say_what_is_a_transfer_and_the_model_knows(
    cfg: CfgNode, dataset: MarketLayout, market_folder: Callable[..., Path], tmp_path: Path
) -> None:
    other = MarketLayout(tmp_path, str(market_folder("other", test_ids=6, seed=3)))
    other.spec = "Other"
    model = DomainModel()
    results = evaluate(cfg, model, [dataset, other], trained_on=[dataset])
    assert [results[spec]["transfer"] for spec in (dataset.spec, "Other")] == [False, True]
    assert all(figures["trained_on"] == [dataset.spec] for figures in results.values())
    both = evaluate(cfg, model, [dataset, other], trained_on=[dataset, "Other"])
    assert [figures["transfer"] for figures in both.values()] == [False, False]
    assert both["Other"]["mAP"] != results["Other"]["mAP"]
    assert {**both[dataset.spec], "trained_on": [dataset.spec]} == results[dataset.spec]
    assert model.seen_domain
    untold = evaluate(cfg, model, [other])["Other"]
    assert untold["mAP"] == both["Other"]["mAP"] and not {"transfer", "trained_on"} & set(untold)


def test_table_labels_transfers() -> None:
    figures = {"mAP": 12.5, "trained_on": ["A", "B"], "transfer": True, "with": {"aqe": {"mAP": 13.5}}}
    lines = results_table({"C": {**figures, "untrained": {"mAP": 1.0}}, "A": {**figures, "transfer": False}}).split(
        "\n"
    )
    labels = [line.split("|")[1].strip() for line in lines[2:]]
    assert labels == ["A, B -> C (untrained)", "A, B -> C", "A, B -> C + AQE", "A", "A + AQE"]
    assert lines[0].count("|") == 3


def test_features_are_told_before_they_are_evaluated(cfg: CfgNode, dataset: MarketLayout) -> None:
    told: list[FeatureSet] = []
    evaluate(cfg, Model(), [dataset], on_features=told.append)
    assert [features.name for features in told] == [dataset.spec]
    assert len(told[0].values) == len(dataset.query) + len(dataset.gallery)

    def fail(features: FeatureSet) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        evaluate(cfg, Model(), [dataset], on_features=fail)


def test_an_unknown_evaluator_fails_before_the_features_are_made(cfg: CfgNode, dataset: MarketLayout) -> None:
    with pytest.raises(RegistryError, match="Did you mean"):
        evaluate(changed(cfg, "TEST.EVALUATOR", "RetrievalEvalutor"), nn.Linear(1, 1), [dataset])


def test_table_has_the_untrained_score_above(cfg: CfgNode, dataset: MarketLayout) -> None:
    results = evaluate(changed(cfg, "TEST.FLIP.ENABLED", True), Model(), [dataset])
    table = results_table({name: {**metrics, "untrained": metrics} for name, metrics in results.items()})
    lines = table.splitlines()
    assert len(lines) == 4 and "(untrained)" in lines[2] and "Rank-10" in lines[0]
