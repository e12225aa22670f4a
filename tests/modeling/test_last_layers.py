"""Other poolings and last activations in a model, for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from batch_norms import randomize_batch_norms
from torch import Tensor, nn

from fastreid_ext.config import ConfigError, get_cfg
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.inference import prepare_for_inference
from fastreid_ext.modeling.last_layers import last_activations, pooling_layers, swapped
from fastreid_ext.modeling.layers import GlobalAvgPool, MixedPool
from fastreid_ext.modeling.meta_arch import Baseline

KINDS: dict[str, dict[str, Any]] = {
    "resnet": {"NAME": "build_resnet_backbone", "DEPTH": "18x"},
    "bottlenecks": {"NAME": "build_resnet_backbone", "DEPTH": "50x", "WITH_SE": True},
    "resnest": {"NAME": "build_resnest_backbone", "DEPTH": "50x"},
    "resnext": {"NAME": "build_resnext_backbone", "DEPTH": "50x"},
    "repvgg": {"NAME": "build_repvgg_backbone", "DEPTH": "A0"},
    "osnet": {"NAME": "build_osnet_backbone", "DEPTH": "x0_25"},
    "densenet": {"NAME": "build_densenet_backbone", "DEPTH": "121"},
    "bn-inception": {"NAME": "build_bn_inception_backbone"},
    "msinet": {"NAME": "MSINet"},
    "timm": {"NAME": "timm:resnet10t"},
    "mgn": {"NAME": "build_resnet_backbone", "DEPTH": "18x"},
}


def build(kind: str, **heads: Any) -> Any:
    cfg = get_cfg(["msinet"] if kind == "msinet" else [])
    model = {
        "META_ARCHITECTURE": "MGN" if kind == "mgn" else "Baseline",
        "DEVICE": "cpu",
        "BACKBONE": KINDS[kind],
        "HEADS": {"NUM_CLASSES": 3, "NAME": "TwoBranchHead" if kind == "msinet" else "EmbeddingHead", **heads},
        "LOSSES": {"NAME": ("CrossEntropyLoss",)},
    }
    cfg.merge_from_mapping({"MODEL": model, "INPUT": {"SIZE_TRAIN": [64, 64]}})
    built = build_model(cfg)
    randomize_batch_norms(built)
    return built


def images() -> Tensor:
    return torch.randint(0, 256, (2, 3, 64, 64)).float()


def maps(model: Any, batch: Tensor) -> list[Tensor]:
    """What the heads of a model get."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        kept.append((output["last"] if isinstance(output, dict) else output).clone())

    handles = [model.get_submodule(part).register_forward_hook(keep) for part in model.map_parts]
    model(batch)
    for handle in handles:
        handle.remove()
    return kept


def leaky(slope: float) -> Callable[[nn.Module], nn.Module]:
    return lambda _: nn.LeakyReLU(slope)


@torch.no_grad()
def check_activations(model: Any, copy: Any, batch: Tensor) -> None:
    """Slope 0 is the model, slope 1 the map before the last ReLU."""
    plain = maps(model, batch)
    places = last_activations(model)
    with swapped(places, leaky(0.0)):
        torch.testing.assert_close(maps(model, batch), plain)
    with swapped(places, leaky(1.0)), swapped(last_activations(copy), leaky(1.0)):
        linear = maps(model, batch)
        torch.testing.assert_close(copy(batch), model(batch), rtol=1e-3, atol=1e-3)
    with swapped(places, leaky(0.5)):
        half = maps(model, batch)
    for of_plain, of_linear, of_half in zip(plain, linear, half, strict=True):
        torch.testing.assert_close(of_linear.relu(), of_plain)
        torch.testing.assert_close(of_half, torch.maximum(of_linear, 0.5 * of_linear))
        # In each eighth of the channels; of BN-Inception's branches each has one to itself.
        assert all((channels < 0).any() for channels in of_linear.chunk(8, dim=1))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_backbone(kind: str) -> None:
    model = build(kind)
    next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    modes, modules = [module.training for module in model.modules()], list(model.modules())
    names = list(model.state_dict())
    last_activations(model)
    assert [module.training for module in model.modules()] == modes
    model.eval()
    batch = images()
    before = model(batch)
    check_activations(model, prepare_for_inference(model), batch)
    with swapped(pooling_layers(model), lambda _: MixedPool(1.0)):
        assert not torch.allclose(model(batch), before)
    assert list(map(id, model.modules())) == list(map(id, modules)) and list(model.state_dict()) == names
    assert torch.equal(model(batch), before)
    assert len(pooling_layers(model)) == (8 if kind == "mgn" else 1)
    assert len(last_activations(model)) == {"mgn": 3, "bn-inception": 4}.get(kind, 1)


def test_all_is_restored_after_an_error() -> None:
    model = build("osnet")
    (place,) = last_activations(model)
    relu = place[0].get_submodule(place[1])

    def fail(_: nn.Module) -> nn.Module:
        raise RuntimeError("no module")

    with pytest.raises(RuntimeError, match="no module"), swapped([place], leaky(0.1)), swapped([place], fail):
        raise AssertionError("not reached")
    with pytest.raises(KeyError, match="inside"), swapped([place], leaky(0.1)):
        assert place[0].get_submodule(place[1]).training
        raise KeyError("inside")
    assert place[0].get_submodule(place[1]) is relu


class Head(nn.Module):
    """Pools; `pool` is what it pools with."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, features: Tensor) -> Tensor:
        pooled: Tensor = self.pool(features)
        return pooled.flatten(1)


class Twice(nn.Module):
    """Uses one ReLU twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.conv(self.relu(self.conv(x))))
        return out


class Written(nn.Module):
    """Writes into the output of its ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 3, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu(self.conv(x))
        return out.add_(1)


class Failing(nn.Module):
    """Takes no image of the trial's size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 99)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


def model_of(backbone: nn.Module, pool: nn.Module | None = None) -> Baseline:
    return Baseline(backbone=backbone, heads=Head(pool or GlobalAvgPool()))


def test_a_backbone_of_ones_own() -> None:
    model = model_of(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Identity()))
    assert last_activations(model) == [(model.backbone, "1")]
    # A second name for the same module.
    model.activation = model.backbone[1]  # type: ignore[index]
    places = last_activations(model)
    assert places == [(model.backbone, "1"), (model, "activation")]
    with swapped(places, leaky(0.1)):
        assert isinstance(model.activation, nn.LeakyReLU)


@pytest.mark.parametrize(
    "backbone",
    [
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.GELU()),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6()),
        Twice(),
        Written(),
    ],
    ids=["gelu", "linear", "relu6", "twice", "written"],
)
def test_a_last_map_of_no_relu_is_refused(backbone: nn.Module) -> None:
    name = type(backbone).__name__
    with pytest.raises(ConfigError, match=rf"TEST\.LEAKY_RELU .* map of {name} .* is not the output of one: turn"):
        last_activations(model_of(backbone))


def test_what_cannot_be_known_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"black image of 64x64 pixels, but failed: RuntimeError"):
        last_activations(model_of(Failing()))
    with pytest.raises(ConfigError, match="Sequential, which has no part backbone"):
        last_activations(nn.Sequential(nn.Conv2d(3, 4, 1)))
    with pytest.raises(ConfigError, match=r"TEST\.MIXED_POOL .* but Head has none"):
        pooling_layers(model_of(Twice(), nn.AdaptiveAvgPool2d(1)))
    with pytest.raises(ConfigError, match=r"TEST\.MIXED_POOL"):
        pooling_layers(build("osnet", POOL_LAYER="Identity"))


@pytest.mark.parametrize("name", ["timm:convnext_atto", "timm:mobilenetv3_small_050"])
def test_timm_models_without_a_last_relu_are_refused(name: str) -> None:
    cfg = get_cfg()
    backbone = {"NAME": name}
    cfg.merge_from_mapping({"MODEL": {"DEVICE": "cpu", "BACKBONE": backbone, "HEADS": {"NUM_CLASSES": 2}}})
    with pytest.raises(ConfigError, match=r"map of TimmBackbone"):
        last_activations(build_model(cfg))


def test_mixed_pooling_is_the_formula() -> None:
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    for alpha in (0.0, 0.3, 1.0):
        found = MixedPool(alpha)(x)
        assert found.shape == (2, 3, 1, 1)
        for sample in range(2):
            for channel in range(3):
                values = x[sample, channel].flatten().tolist()
                expected = alpha * max(values) + (1 - alpha) * sum(values) / len(values)
                assert found[sample, channel].item() == pytest.approx(expected)
