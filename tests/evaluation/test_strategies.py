"""Inference strategies from a config to figures, and features of several models side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.data.datasets import MarketLayout
from fastreid_ext.evaluation.evaluator import evaluate, evaluate_features
from fastreid_ext.evaluation.feature_files import FeatureFileError, join, load_features, save_features
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.side_by_side import side_by_side
from fastreid_ext.evaluation.strategies import InferenceStrategies, check_strategies
from fastreid_ext.functional.beta_norm import beta_normalize
from fastreid_ext.modeling.layers import GeneralizedMeanPooling, GlobalAvgPool
from fastreid_ext.modeling.meta_arch import Baseline
from fastreid_ext.modeling.meta_arch.base import image_arguments

BETA = ("TEST.METRIC", "euclidean", "TEST.BETA_NORM.ENABLED", True, "TEST.BETA_NORM.BETA", 0.2)
POOL = ("TEST.MIXED_POOL.ENABLED", True, "TEST.MIXED_POOL.ALPHA", 0.25)
LEAKY = ("TEST.LEAKY_RELU.ENABLED", True, "TEST.LEAKY_RELU.SLOPE", 0.75)
N = 12


def config(*options: Any) -> CfgNode:
    return load_config("", ["INPUT.SIZE_TEST", [32, 16], *options])


class Head(nn.Module):
    """Pools, and nothing else."""

    def __init__(self, pool: nn.Module | None = None) -> None:
        super().__init__()
        self.pool = pool or GlobalAvgPool()

    def forward(self, features: Tensor) -> Tensor:
        pooled: Tensor = self.pool(features)
        return pooled.flatten(1)


def small_model(last: nn.Module | None = None) -> Baseline:
    backbone = nn.Sequential(nn.Conv2d(3, 8, 5, stride=3), last or nn.ReLU(inplace=True))
    # As the loader normalises images.
    return Baseline(backbone=backbone, heads=Head(), **image_arguments(config()))


def feature_set(**changes: Any) -> FeatureSet:
    values: dict[str, Any] = {
        "name": "Some",
        "values": torch.randn(N, 6) * torch.rand(N, 1) * 20,
        "pids": torch.arange(N) % 3,
        "camids": torch.arange(N) % 2,
        "trials": [(torch.arange(0, 5), torch.arange(5, N)), (torch.arange(7, N), torch.arange(7))],
        "paths": [f"{number}.jpg" for number in range(N)],
    }
    return FeatureSet(**{**values, **changes})


def figures(features: FeatureSet, *options: Any) -> dict[str, Any]:
    (found,) = evaluate_features(config(*options), [features]).values()
    return found


@pytest.fixture
def dataset(market_folder: Callable[..., Path], tmp_path: Path) -> MarketLayout:
    return MarketLayout(tmp_path, str(market_folder(test_ids=6)))


def features_with(model: nn.Module, dataset: MarketLayout, *options: Any) -> tuple[FeatureSet, dict[str, Any]]:
    kept: list[FeatureSet] = []
    (found,) = evaluate(config(*options), model, [dataset], on_features=kept.append).values()
    return kept[0], found


def test_features_are_those_of_a_model_with_such_layers(dataset: MarketLayout) -> None:
    model = small_model()
    plain, results = features_with(model, dataset)
    assert "strategies" not in results
    changed, results = features_with(model, dataset, *POOL, *LEAKY)
    assert results["strategies"] == {"mixed_pool": 0.25, "leaky_relu": 0.75}
    with torch.no_grad():
        images = torch.stack([torch.from_numpy(_pixels(path)) for path in changed.paths]).float()
        linear = model.backbone[0](model.normalize(images))  # type: ignore[index]
    map_ = torch.where(linear > 0, linear, 0.75 * linear).flatten(2)
    torch.testing.assert_close(changed.values, 0.25 * map_.amax(2) + 0.75 * map_.mean(2))
    torch.testing.assert_close(plain.values, linear.relu().flatten(2).mean(2))
    again, _ = features_with(model, dataset)
    assert torch.equal(again.values, plain.values) and model.training


def _pixels(path: str) -> Any:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1).copy()


def test_strategies_that_do_not_fit_are_refused_beforehand(dataset: MarketLayout) -> None:
    model = small_model(nn.Tanh())
    check_strategies(config(*POOL), model)
    with pytest.raises(ConfigError, match=r"TEST\.LEAKY_RELU"):
        check_strategies(config(*LEAKY), model)
    with pytest.raises(ConfigError, match=r"TEST\.LEAKY_RELU"):
        evaluate(config(*LEAKY), model, [dataset])
    model = small_model(nn.ReLU())
    model.heads.pool = GeneralizedMeanPooling()
    check_strategies(config(*POOL, *LEAKY), model)
    with pytest.raises(ConfigError, match=r"GeneralizedMeanPooling drops: turn TEST\.MIXED_POOL\.ENABLED on"):
        check_strategies(config(*LEAKY), model)
    model.heads.pool = nn.AdaptiveAvgPool2d(1)
    with pytest.raises(ConfigError, match=r"TEST\.MIXED_POOL"):
        check_strategies(config(*POOL), model)


def test_nothing_asked_for_touches_nothing() -> None:
    strategies = InferenceStrategies.from_config(config())
    assert strategies == InferenceStrategies(None, None) and strategies.describe() == {}
    with strategies.applied(nn.Linear(1, 1)):
        pass
    assert InferenceStrategies(0.0, 0.0).describe() == {"mixed_pool": 0.0, "leaky_relu": 0.0}


def test_beta_normalised_features_are_ranked() -> None:
    features = feature_set()
    normalised = replace(features, values=beta_normalize(features.values, 0.2))
    found, expected = figures(features, *BETA), figures(normalised, "TEST.METRIC", "euclidean")
    assert found.pop("strategies") == {"beta_norm": 0.2}
    assert found == expected
    assert expected["mAP"] != figures(features, "TEST.METRIC", "euclidean")["mAP"]
    others = ("TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 3, "TEST.RERANK.K2", 2, "TEST.ROC.ENABLED", True)
    found, expected = figures(features, *BETA, *others), figures(normalised, "TEST.METRIC", "euclidean", *others)
    assert {key: value for key, value in found.items() if key != "strategies"} == expected


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_parts_are_normalised_each_by_itself(metric: str) -> None:
    options = ("TEST.METRIC", metric)
    features = feature_set(parts=(2, 4))
    by_hand = torch.cat([nn.functional.normalize(part) for part in features.values.split([2, 4], dim=1)], dim=1)
    found = figures(features, *options)
    assert found.pop("strategies") == {"parts": [2, 4]}
    assert found == figures(feature_set(values=by_hand, pids=features.pids), *options)
    with_beta = figures(features, *BETA)
    assert with_beta["strategies"] == {"beta_norm": 0.2, "parts": [2, 4]}
    one = figures(replace(features, parts=(6,)), *options)
    assert one == figures(replace(features, parts=()), *options)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_parts_are_kept_in_files(tmp_path: Path, suffix: str) -> None:
    features = feature_set(parts=(2, 4))
    save_features(tmp_path / f"of{suffix}", features)
    loaded = load_features(tmp_path / f"of{suffix}")
    assert loaded.parts == (2, 4) and figures(loaded) == figures(features)
    save_features(tmp_path / f"of{suffix}", replace(features, parts=()))
    assert load_features(tmp_path / f"of{suffix}").parts == ()


@pytest.mark.parametrize("parts", [[2, 3], [0, 6], [-1, 7], [2.0, 4.0], [[6]], []])
def test_parts_that_do_not_fit_are_refused(tmp_path: Path, parts: Any) -> None:
    np.savez(tmp_path / "of.npz", features=np.ones((3, 6), np.float32), pids=np.arange(3), parts=np.array(parts))
    with pytest.raises(FeatureFileError, match="parts must be positive widths that add up to the 6 dimensions"):
        load_features(tmp_path / "of.npz")


def test_query_and_gallery_files_of_one_ensemble_join() -> None:
    one = feature_set(trials=[(torch.arange(N), torch.arange(N))], parts=(2, 4))
    other = replace(one, values=torch.randn(N, 6))
    assert join(one, other).parts == (2, 4)
    with pytest.raises(FeatureFileError, match=r"have parts \[2, 4\], those of Some \[\]"):
        join(one, replace(other, parts=()))


def test_models_stand_side_by_side_without_images_that_one_lacks() -> None:
    first, second = feature_set(), feature_set(values=torch.randn(N, 3))
    # The second lacks image 6, and has the others in another order.
    order = torch.tensor([row for row in reversed(range(N)) if row != 6])
    places = {row: place for place, row in enumerate(order.tolist())}
    trials = [
        tuple(torch.tensor([places[row] for row in split.tolist() if row != 6]) for split in trial)
        for trial in second.trials
    ]
    lacking = replace(
        second,
        values=second.values[order],
        pids=second.pids[order],
        camids=second.camids[order],
        paths=[second.paths[row] for row in order.tolist()],
        trials=trials,
    )
    kept = [row for row in range(N) if row != 6]
    joined = side_by_side([first, lacking])
    assert joined.parts == (6, 3) and list(joined.paths) == [first.paths[row] for row in kept]
    assert torch.equal(joined.values, torch.cat([first.values, second.values], dim=1)[kept])
    assert torch.equal(joined.pids, first.pids[kept]) and torch.equal(joined.camids, first.camids[kept])
    for (query, gallery), (of_first, from_first) in zip(joined.trials, first.trials, strict=True):
        for moved, split in ((query, of_first), (gallery, from_first)):
            assert [joined.paths[row] for row in moved.tolist()] == [f"{row}.jpg" for row in split.tolist() if row != 6]
    nested = side_by_side([joined, joined])
    assert nested.parts == (6, 3, 6, 3)
    with pytest.raises(ValueError, match="Other and of Some are of different images"):
        side_by_side([first, replace(second, name="Other")])
