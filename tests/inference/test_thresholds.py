"""Verdicts, and the thresholds that they rest on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import SIZE
from torch import Tensor

from fastreid_ext.data.datasets import build_dataset
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation.extraction import UnreadableImagesError
from fastreid_ext.evaluation.feature_files import save_features
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.inference import (
    Embedder,
    ModelCard,
    Predictor,
    Threshold,
    ThresholdError,
    calibrate,
    features_of,
)


class Colours(Embedder):
    """The mean colour of an image, by any metric."""

    def __init__(self, **changes: Any) -> None:
        card = ModelCard(fingerprint="c0105", size=SIZE, dim=3).changed(**changes)
        super().__init__(card, source="colours", device=torch.device("cpu"))

    def embed(self, images: Tensor) -> Tensor:
        return images.float().mean((2, 3))


def some_features(seed: int = 0, noise: float = 0.5) -> FeatureSet:
    generator = torch.Generator().manual_seed(seed)
    pids = torch.arange(60) % 12
    values = torch.randn(12, 3, generator=generator)[pids] + noise * torch.randn(60, 3, generator=generator)
    trials = [(torch.arange(20), torch.arange(20, 60))]
    return FeatureSet("Some", values, pids, torch.arange(60) // 12 % 2, trials, Protocol(camera_rule=False))


@pytest.mark.parametrize("card", [{}, {"metric": "euclidean"}, {"metric": "euclidean", "beta": 0.3}], ids=str)
@pytest.mark.parametrize("fpr", [0.01, 0.1, 0.5])
def test_verdicts_accept_the_shares_that_were_measured(card: dict[str, Any], fpr: float) -> None:
    predictor, features = Predictor(Colours(**card)), some_features()
    threshold = calibrate(predictor, features, fpr=fpr)
    query, gallery = features.trials[0]
    similarities = predictor.similarity(features.values[query], features.values[gallery])
    same = features.pids[query][:, None] == features.pids[gallery]
    accepted = similarities >= threshold.value
    assert (threshold.num_genuine, threshold.num_impostor) == (int(same.sum()), int((~same).sum()))
    assert float(accepted[~same].double().mean()) == pytest.approx(threshold.measured_fpr)
    assert float(accepted[same].double().mean()) == pytest.approx(threshold.tpr)
    assert threshold.measured_fpr <= fpr and threshold.tpr > 0
    # One impostor pair more would be too many.
    assert threshold.measured_fpr + 1 / threshold.num_impostor > fpr - 1e-9
    verdict = predictor.verify(features.values[0], features.values[20], threshold)
    assert verdict.same == bool(accepted[0, 0]) and verdict.similarity == pytest.approx(float(similarities[0, 0]))
    assert verdict.threshold is threshold


def test_the_camera_rule_holds_for_genuine_pairs() -> None:
    features = some_features()
    by_rule = replace(features, protocol=Protocol(camera_rule=True))
    pairs = [calibrate(Predictor(Colours()), each, fpr=0.1).num_genuine for each in (features, by_rule)]
    assert pairs[0] > pairs[1]


def test_a_rate_that_cannot_be_measured_is_told() -> None:
    threshold = calibrate(Predictor(Colours()), some_features(noise=0.05), fpr=1e-6)
    assert threshold.measured_fpr == 0
    assert any("1e-06 cannot be measured on 7" in warning for warning in threshold.warnings)
    assert not any("measured on" in w for w in calibrate(Predictor(Colours()), some_features(), fpr=0.1).warnings)


def test_rates_and_features_that_give_no_threshold() -> None:
    predictor, features = Predictor(Colours()), some_features()
    for rate in (0, 1, -0.1, 2):
        with pytest.raises(ValueError, match="lies between 0 and 1"):
            calibrate(predictor, features, fpr=rate)
    twins = features.values.clone()
    twins[0] = twins[21]
    assert int(features.pids[0]) != int(features.pids[21])
    with pytest.raises(ThresholdError, match="no genuine pair would be accepted"):
        calibrate(predictor, replace(features, values=twins), fpr=1e-4)
    with pytest.raises(ThresholdError, match="features of 4 dimensions; this model's have 3"):
        calibrate(predictor, replace(features, values=torch.randn(60, 4)))
    with pytest.raises(ValueError, match="hold NaN or Inf"):
        calibrate(predictor, replace(features, values=torch.full((60, 3), torch.nan)))


def test_a_threshold_belongs_to_its_model() -> None:
    features = some_features()
    threshold = calibrate(Predictor(Colours()), features, fpr=0.1)
    pair = features.values[0], features.values[1]
    with pytest.raises(ThresholdError, match=r"fingerprint c0105, this one has abc.*calibrate this model"):
        Predictor(Colours(fingerprint="abc")).verify(*pair, threshold)
    for changes in ({"metric": "euclidean"}, {"beta": 0.1}):
        with pytest.raises(ThresholdError, match=r"this model compares by TEST\.METRIC"):
            Predictor(Colours(**changes)).verify(*pair, threshold)
    with pytest.raises(ValueError, match="a verdict is on one pair; got 2 and 3 images"):
        Predictor(Colours()).verify(features.values[:2], features.values[:3], threshold)


def test_thresholds_in_files(tmp_path: Path) -> None:
    threshold = calibrate(Predictor(Colours()), some_features(), fpr=0.05)
    threshold.save(tmp_path / "folder" / "threshold.json")
    assert Threshold.load(tmp_path / "folder" / "threshold.json") == threshold
    with pytest.raises(ThresholdError, match=r"cannot read threshold .*none\.json: No such file"):
        Threshold.load(tmp_path / "none.json")
    whole = json.loads((tmp_path / "folder" / "threshold.json").read_text())
    for content in ("[1]", "{", json.dumps({**whole, "value": "0.5"}), json.dumps({**whole, "more": 1}), "{}"):
        (tmp_path / "odd.json").write_text(content)
        with pytest.raises(ThresholdError, match=r"odd\.json is no threshold"):
            Threshold.load(tmp_path / "odd.json")


def listed(images: list[Path], folder: Path) -> str:
    rows = [f"{path},{n % 3},{n % 2},{'query' if n < 3 else 'gallery'}" for n, path in enumerate(images)]
    (folder / "list.csv").write_text("\n".join(["path,pid,camid,split", *rows]))
    return f"ImageList:{folder / 'list.csv'}"


def test_calibrating_on_a_data_set_and_on_its_features(images: list[Path], tmp_path: Path) -> None:
    predictor = Predictor(Colours())
    spec = listed(images, tmp_path)
    threshold = calibrate(predictor, spec, fpr=0.9)
    assert threshold.data == spec and threshold.fingerprint == predictor.card.fingerprint
    features = features_of(predictor, build_dataset(spec))
    save_features(tmp_path / "features.npz", features)
    assert calibrate(predictor, tmp_path / "features.npz", fpr=0.9) == threshold
    moved = replace(features, paths=[path + ".moved" for path in features.paths])
    (warning,) = calibrate(predictor, moved, fpr=0.9).warnings
    assert "could not be checked" in warning
    with pytest.raises(ThresholdError, match="features of another model or of other options"):
        calibrate(predictor, replace(features, values=features.values * torch.tensor([1, 1.1, 1])), fpr=0.9)


def test_unreadable_images_of_a_data_set(images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "cut.jpg").write_bytes(images[0].read_bytes()[:200])
    spec = listed([*images, tmp_path / "cut.jpg"], tmp_path)
    with pytest.raises(UnreadableImagesError, match=r"1 test images cannot be read:\s+.*cut\.jpg"):
        calibrate(Predictor(Colours()), spec, fpr=0.9)
    skipping = Predictor(Colours(config="TEST: {SKIP_UNREADABLE: true}"))
    assert calibrate(skipping, spec, fpr=0.9).warnings == ("measured without 1 unreadable images",)


def test_similarities_of_embeddings_and_images(images: list[Path]) -> None:
    predictor = Predictor(Colours())
    embedded = predictor.embed(images)
    both = predictor.similarity(images, embedded[:2])
    assert both.shape == (7, 2)
    torch.testing.assert_close(
        both, torch.nn.functional.cosine_similarity(embedded[:, None], embedded[None, :2], dim=-1)
    )
    torch.testing.assert_close(predictor.similarity(images[0], embedded[1].numpy()), both[:1, 1:])
    distances = -Predictor(Colours(metric="euclidean")).similarity(images, images)
    torch.testing.assert_close(distances, (embedded[:, None] - embedded).square().sum(-1), atol=0.05, rtol=1e-4)
    with pytest.raises(ValueError, match="embeddings of this model have 3 dimensions, these have 5"):
        predictor.similarity(torch.zeros(2, 5), embedded)
