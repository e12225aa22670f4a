"""EfficientNets: all sizes, their state names, and the weights that others publish."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision.models
from backbone_checks import check_learning_and_folding, check_map, check_switches, last_relus, without_weights

from fastreid_ext.config import ConfigError
from fastreid_ext.modeling.backbones import BACKBONES, EfficientNet, load_pretrained

NAME = "build_effnet_backbone"
WIDTHS = {"b0": 1280, "b1": 1280, "b2": 1408, "b3": 1536, "b4": 1792, "b5": 2048}


@pytest.mark.parametrize(("depth", "width"), WIDTHS.items())
def test_maps(depth: str, width: int) -> None:
    check_map(NAME, width, (16, 8), DEPTH=depth)


def test_last_stride_two_halves_the_map() -> None:
    check_map(NAME, 1280, (8, 4), DEPTH="b0", LAST_STRIDE=2)


def test_unknown_depth_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"EfficientNet has no depth 'B0' .* Choose b0, b1, b2, b3, b4, b5"):
        without_weights(NAME, DEPTH="B0")
    assert BACKBONES.get("EfficientNet") is EfficientNet


def test_switches(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    check_switches(NAME, "b0", caplog, monkeypatch)


def test_learning_and_folding() -> None:
    check_learning_and_folding(EfficientNet())


def test_a_map_that_ends_in_silu_has_no_last_relu() -> None:
    with pytest.raises(ConfigError, match=r"the last map of EfficientNet .* is not the output of one: turn TEST"):
        last_relus(NAME, "b0")


def test_state_names() -> None:
    state = without_weights(NAME, DEPTH="b2").state_dict()
    shapes = {
        "stem.conv.weight": (32, 3, 3, 3),
        "stem.bn.weight": (32,),
        "s1.b1.dwise.weight": (32, 1, 3, 3),
        "s1.b2.lin_proj_bn.running_var": (16,),
        "s2.b1.exp.weight": (96, 16, 1, 1),
        "s3.b1.exp_bn.bias": (144,),
        "s3.b2.dwise.weight": (288, 1, 5, 5),
        "s3.b1.se.f_ex.0.weight": (6, 144, 1, 1),
        "s3.b1.se.f_ex.2.bias": (144,),
        "s7.b2.lin_proj.weight": (352, 2112, 1, 1),
        "head.conv.weight": (1408, 352, 1, 1),
        "head.conv_bn.running_mean": (1408,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert not any(key.startswith("s1.") and "exp" in key for key in state)


@pytest.mark.parametrize("depth", WIDTHS)
def test_torchvision_has_the_same_layers(depth: str) -> None:
    backbone = without_weights(NAME, DEPTH=depth)
    with torch.device("meta"):
        theirs = getattr(torchvision.models, f"efficientnet_{depth}")(weights=None).state_dict()
    renamed = backbone.convert_weights(theirs)
    expected = {key: value.shape for key, value in backbone.state_dict().items()}
    assert {key: value.shape for key, value in renamed.items() if not key.startswith("classifier.")} == expected
    assert f"efficientnet_{depth}_" in backbone.official_weights().where


def test_computes_what_torchvision_does(monkeypatch: pytest.MonkeyPatch) -> None:
    reference: Any = torchvision.models.efficientnet_b0(weights=None).eval()
    weights = torchvision.models.EfficientNet_B0_Weights
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: reference.state_dict())
    backbone = EfficientNet(last_stride=2).eval()
    load_pretrained(backbone)
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = reference.features(images)
        torch.testing.assert_close(backbone(images), expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def test_the_epsilon_with_which_torchvision_trained_b5_goes_into_the_variances() -> None:
    state = {"classifier.1.weight": torch.ones(1000, 2048), "features.0.1.running_var": torch.ones(48)}
    for depth, expected in (("b4", 1.0), ("b5", 1.00099)):
        with torch.device("meta"):
            converted = EfficientNet(depth=depth).convert_weights(state)
        torch.testing.assert_close(converted["stem.bn.running_var"], torch.full((48,), expected))


def test_weights_of_pycls_are_made_for_rgb() -> None:
    stem = torch.randn(32, 3, 3, 3)
    backbone = without_weights(NAME, DEPTH="b0")
    state = {"stem.conv.weight": stem, "head.fc.weight": torch.ones(1000, 1280)}
    assert torch.equal(backbone.convert_weights(state)["stem.conv.weight"], stem.flip(1))
    assert torch.equal(backbone.convert_weights({"stem.conv.weight": stem})["stem.conv.weight"], stem)
