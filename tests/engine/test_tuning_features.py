"""Features under any pooling and slope from one pass over the images: those of the model that has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import options
from torch import Tensor, nn

from fastreid_ext.config import load_config
from fastreid_ext.data.datasets import build_dataset, hold_out
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.engine.tuning.features import SettingFeatures
from fastreid_ext.engine.tuning.setting import STRATEGIES, Setting
from fastreid_ext.evaluation.extraction import extract
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.layers import GeneralizedMeanPooling, GlobalAvgPool, GlobalMaxPool

SETTINGS = [
    Setting(),
    Setting(flip=True),
    Setting(alpha=0.0),
    Setting(alpha=1.0, flip=True),
    Setting(slope=0.3),
    Setting(alpha=0.35, slope=0.7),
    Setting(alpha=0.8, slope=1.0, flip=True),
]


class Backbone(nn.Module):
    """A map, and one of an earlier stage."""

    def __init__(self, last: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, stride=4), nn.Conv2d(4, 6, 1)
        self.last = last
        self.calls = 0

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        self.calls += len(x)
        local = self.conv1(x).relu()
        return {"local": local, "last": self.last(self.conv2(local))}


class Heads(nn.Module):
    """Stripes of the last map, pooled apart, and another branch beside them; `after` follows the pooling."""

    def __init__(self, poolings: Sequence[nn.Module], after: nn.Module) -> None:
        super().__init__()
        self.poolings = nn.ModuleList(poolings)
        self.after = after

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        stripes = maps["last"].chunk(len(self.poolings), dim=2)
        pooled = [self.after(pool(s).flatten(1)) for pool, s in zip(self.poolings, stripes, strict=True)]
        return torch.cat([*pooled, maps["local"].mean((2, 3))], dim=1)


class Model(nn.Module):
    def __init__(
        self,
        poolings: Sequence[nn.Module] = (),
        *,
        last: nn.Module | None = None,
        after: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.backbone = Backbone(last or nn.ReLU(inplace=True))
        self.heads = Heads(poolings or [GlobalAvgPool()], after or nn.Linear(6, 5))

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        embeddings: Tensor = self.heads(self.backbone(batch["images"] / 255))
        return embeddings


@pytest.fixture
def data(market_folder: Callable[..., Path]) -> Path:
    return market_folder(train_ids=8, cameras=2, shots=2)


def features_of(data: Path, model: nn.Module, names: Sequence[str] = STRATEGIES, **more: Any) -> SettingFeatures:
    cfg = load_config("", options(data, data.parent / "run", **more))
    dataset = hold_out(build_dataset(f"MarketLayout:{data}"), share=0.5)
    return SettingFeatures(cfg, model, dataset, names)


def plainly(data: Path, model: nn.Module, setting: Setting, **more: Any) -> Tensor:
    """The features by an evaluation with that `TEST` block."""
    cfg = load_config("", options(data, data.parent / "run", **more))
    cfg.defrost()
    cfg.merge_from_mapping({"TEST": setting.options("cosine")})
    dataset = hold_out(build_dataset(f"MarketLayout:{data}"), share=0.5)
    return extract(cfg, model, dataset, stores=ImageStores.from_config(cfg, "cpu"))[0].values


@pytest.mark.parametrize(
    "make",
    [
        lambda: Model(),
        lambda: Model([GlobalAvgPool(), GlobalAvgPool(), GlobalAvgPool()]),
        lambda: Model([GlobalMaxPool()], after=nn.Identity()),
        lambda: Model([GeneralizedMeanPooling()]),
    ],
    ids=["mean", "stripes", "maximum", "generalised mean"],
)
def test_one_pass_gives_every_pooling_and_slope(make: Callable[[], Model], data: Path) -> None:
    model = make()
    found = features_of(data, model)
    assert found.in_one_pass
    assert found.most_extractions == 1
    model.backbone.calls = 0
    for setting in SETTINGS:
        if setting.alpha is None and setting.slope is not None and not found.choices.slope_alone:
            continue
        values = found.of(setting).values
        assert model.backbone.calls == 2 * len(values)
        given = model.backbone.calls
        torch.testing.assert_close(values, plainly(data, model, setting), rtol=1e-4, atol=1e-5)
        model.backbone.calls = given
    assert found.extractions == 1


def test_one_pass_gives_every_pooling_of_a_built_model(data: Path) -> None:
    cfg = load_config("", options(data, data.parent / "run"))
    model = build_model(cfg)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            module.running_mean.normal_(0, 0.1)
    found = features_of(data, model)
    assert found.in_one_pass
    for setting in SETTINGS[-2:]:
        torch.testing.assert_close(found.of(setting).values, plainly(data, model, setting), rtol=1e-3, atol=1e-4)


def test_a_head_that_is_not_affine_takes_passes_of_its_own(data: Path) -> None:
    model = Model(after=nn.Sequential(nn.Linear(6, 5), nn.ReLU()))
    found = features_of(data, model)
    assert not found.in_one_pass
    for setting in SETTINGS:
        torch.testing.assert_close(found.of(setting).values, plainly(data, model, setting), rtol=1e-4, atol=1e-5)
    # Mirror images come along: seven settings, six pairs of pooling and slope.
    assert found.extractions == 6
    assert found.most_extractions == 6 * 5


def test_a_last_activation_that_is_no_relu_leaves_the_slope_out(data: Path) -> None:
    model = Model(last=nn.GELU())
    found = features_of(data, model)
    assert found.in_one_pass
    assert found.choices.strategies == ("mixed_pool", "beta_norm", "rerank", "flip")
    setting = Setting(alpha=0.6, flip=True)
    torch.testing.assert_close(found.of(setting).values, plainly(data, model, setting))
    with pytest.raises(ValueError, match="nothing to search"):
        features_of(data, model, ["leaky_relu"])
    with pytest.raises(ValueError, match="LEAKY_RELU"):
        features_of(data, model, ["flip"], **{"TEST.LEAKY_RELU.ENABLED": True})


def test_what_is_not_searched_stays_as_configured(data: Path) -> None:
    model = Model()
    on = {"TEST.MIXED_POOL.ENABLED": True, "TEST.MIXED_POOL.ALPHA": 0.3, "TEST.FLIP.ENABLED": True}
    found = features_of(data, model, ["leaky_relu"], **on)
    assert found.base == Setting(alpha=0.3, flip=True)
    setting = Setting(alpha=0.3, slope=0.4, flip=True)
    torch.testing.assert_close(found.of(setting).values, plainly(data, model, setting), rtol=1e-4, atol=1e-5)
