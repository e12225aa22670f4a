"""MobileNets of the second and third version: all sizes, their state names, and torchvision's weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision.models
from backbone_checks import check_learning_and_folding, check_map, check_switches, last_relus, without_weights

from fastreid_ext.config import ConfigError
from fastreid_ext.modeling.backbones import BACKBONES, MobileNetV2, MobileNetV3, load_pretrained

V2, V3 = "build_mobilenetv2_backbone", "build_mobilenetv3_backbone"
NETWORKS = [
    *((V2, depth, 1280) for depth in ("1.0x", "0.75x", "0.5x", "0.35x", "0.25x", "0.1x")),
    (V3, "Large", 1280),
    (V3, "Small", 1024),
]


@pytest.mark.parametrize(("name", "depth", "width"), NETWORKS)
def test_maps(name: str, depth: str, width: int) -> None:
    check_map(name, width, (8, 4), DEPTH=depth)


@pytest.mark.parametrize("name", [V2, V3])
def test_last_stride_changes_nothing(name: str) -> None:
    depth, width = ("0.1x", 1280) if name == V2 else ("Small", 1024)
    check_map(name, width, (8, 4), DEPTH=depth, LAST_STRIDE=2)


@pytest.mark.parametrize(
    ("name", "depth", "told"),
    [
        (V2, "1.0", r"MobileNetV2 has no depth '1.0' .* Did you mean 1\.0x.*Choose 1\.0x, 0\.75x"),
        (V3, "large", r"MobileNetV3 has no depth 'large' .* Did you mean Large.*Choose Large, Small"),
    ],
)
def test_unknown_depth_lists_what_there_is(name: str, depth: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        without_weights(name, DEPTH=depth)


def test_aliases() -> None:
    assert BACKBONES.get("MobileNetV2") is BACKBONES.get(V2) is MobileNetV2
    assert BACKBONES.get("MobileNetV3") is BACKBONES.get(V3) is MobileNetV3


@pytest.mark.parametrize(("name", "depth"), [(V2, "0.1x"), (V3, "Small")])
def test_switches(name: str, depth: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    check_switches(name, depth, caplog, monkeypatch)


@pytest.mark.parametrize("network", [lambda: MobileNetV2(depth="0.1x"), lambda: MobileNetV3(depth="Small")])
def test_learning_and_folding(network: Any) -> None:
    check_learning_and_folding(network())


@pytest.mark.parametrize(("name", "depth"), [(V2, "0.1x"), (V3, "Small")])
def test_a_map_that_ends_in_relu6_has_no_last_relu(name: str, depth: str) -> None:
    with pytest.raises(ConfigError, match=r"the last map of MobileNetV\d .* is not the output of one: turn TEST"):
        last_relus(name, depth)


def test_state_names_of_v2() -> None:
    state = without_weights(V2, DEPTH="0.1x").state_dict()
    shapes = {
        "features.0.0.weight": (4, 3, 3, 3),
        "features.0.1.running_mean": (4,),
        "features.1.conv.0.weight": (4, 1, 3, 3),
        "features.1.conv.4.bias": (4,),
        "features.2.conv.0.weight": (24, 4, 1, 1),
        "features.2.conv.3.weight": (24, 1, 3, 3),
        "features.17.conv.6.weight": (32, 96, 1, 1),
        "features.17.conv.7.weight": (32,),
        "conv.0.weight": (1280, 32, 1, 1),
        "conv.1.running_var": (1280,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert without_weights(V2, DEPTH="0.75x").state_dict()["conv.0.weight"].shape == (1280, 240, 1, 1)


def test_state_names_of_v3() -> None:
    state = without_weights(V3, DEPTH="Small").state_dict()
    shapes = {
        "features.0.0.weight": (16, 3, 3, 3),
        "features.1.block.0.0.weight": (16, 1, 3, 3),
        "features.1.block.1.fc1.weight": (8, 16, 1, 1),
        "features.11.block.3.1.running_mean": (96,),
        "features.12.1.bias": (576,),
        "conv.0.weight": (1024, 576, 1, 1),
        "conv.1.running_var": (1024,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes


def test_v2_computes_what_torchvision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    reference: Any = torchvision.models.mobilenet_v2(weights=None).eval()
    weights = torchvision.models.MobileNet_V2_Weights
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: reference.state_dict())
    backbone = MobileNetV2().eval()
    load_pretrained(backbone)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images), reference.features(images))


def test_v3_computes_what_torchvision_does_up_to_its_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    reference: Any = torchvision.models.mobilenet_v3_small(weights=None).eval()
    for key, value in reference.state_dict().items():
        if key.endswith("running_var"):
            # As small as the epsilon, so that another would show.
            value.uniform_(1e-3, 1e-1)
    weights = torchvision.models.MobileNet_V3_Small_Weights
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: reference.state_dict())
    backbone = MobileNetV3(depth="Small").eval()
    load_pretrained(backbone)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        features = reference.features(images)
        torch.testing.assert_close(backbone.features(images), features, rtol=1e-4, atol=1e-5 * float(features.max()))
        expected = reference.classifier[0](features.mean((2, 3)))
        linear = backbone.conv[1](backbone.conv[0](features)).mean((2, 3))
        torch.testing.assert_close(linear, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_weights_of_ours_are_taken_as_they_are() -> None:
    for network in (MobileNetV2(depth="0.1x"), MobileNetV3(depth="Small")):
        state = network.state_dict()
        converted = network.convert_weights(state)
        assert converted.keys() == state.keys() and all(converted[key] is state[key] for key in state)


def test_where_weights_are() -> None:
    assert "mobilenetv2_0.5-eaa6f9ad.pth" in without_weights(V2, DEPTH="0.5x").official_weights().where
    assert "mobilenet_v3_large" in without_weights(V3, DEPTH="Large").official_weights().where
