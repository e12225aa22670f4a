"""RegNets: all sizes, their state names, and the weights that others publish."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models
from backbone_checks import check_learning_and_folding, check_map, check_switches, last_relus, without_weights
from torch import nn

from fastreid_ext.config import ConfigError
from fastreid_ext.modeling.backbones import BACKBONES, RegNet, load_pretrained, released_weights

NAME = "build_regnet_backbone"
WIDTHS = {
    "200x": 368,
    "200y": 368,
    "400x": 384,
    "400y": 440,
    "800x": 672,
    "800y": 768,
    "1600x": 912,
    "1600y": 888,
    "3200x": 1008,
    "3200y": 1512,
    "4000x": 1360,
    "4000y": 1088,
    "6400x": 1624,
    "6400y": 1296,
}
IN_TORCHVISION = {
    "400y": "regnet_y_400mf",
    "800x": "regnet_x_800mf",
    "1600x": "regnet_x_1_6gf",
    "1600y": "regnet_y_1_6gf",
    "3200x": "regnet_x_3_2gf",
    "3200y": "regnet_y_3_2gf",
}


@pytest.mark.parametrize(("depth", "width"), WIDTHS.items())
def test_maps(depth: str, width: int) -> None:
    check_map(NAME, width, (16, 8), DEPTH=depth)


def test_last_stride_two_halves_the_map() -> None:
    check_map(NAME, 368, (8, 4), DEPTH="200x", LAST_STRIDE=2)


def test_unknown_depth_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"RegNet has no depth '400' .* Did you mean .*400y.*Choose 200x, 200y"):
        without_weights(NAME, DEPTH="400")
    assert BACKBONES.get("RegNet") is RegNet


def test_switches(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    check_switches(NAME, "200y", caplog, monkeypatch)


@pytest.mark.parametrize("depth", ["200x", "200y"])
def test_learning_and_folding(depth: str) -> None:
    check_learning_and_folding(RegNet(depth=depth))


def test_the_last_block_ends_in_the_last_relu() -> None:
    assert last_relus(NAME, "200x") == ["s4.b7.relu"]


def test_state_names() -> None:
    state = without_weights(NAME, DEPTH="400y").state_dict()
    shapes = {
        "stem.conv.weight": (32, 3, 3, 3),
        "stem.bn.running_var": (32,),
        "s1.b1.proj.weight": (48, 32, 1, 1),
        "s1.b1.bn.weight": (48,),
        "s1.b1.f.a.weight": (48, 32, 1, 1),
        "s1.b1.f.se.f_ex.0.weight": (8, 48, 1, 1),
        "s2.b1.f.se.f_ex.2.bias": (104,),
        "s4.b6.f.b.weight": (440, 8, 3, 3),
        "s4.b6.f.b_bn.bias": (440,),
        "s4.b6.f.c_bn.running_mean": (440,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert "s1.b2.proj.weight" not in state and "s4.b7.f.a.weight" not in state
    assert not any(".se." in key for key in without_weights(NAME, DEPTH="400x").state_dict())


@pytest.mark.parametrize(("depth", "name"), IN_TORCHVISION.items())
def test_torchvision_has_the_same_layers(depth: str, name: str) -> None:
    backbone = without_weights(NAME, DEPTH=depth)
    renamed = backbone.convert_weights(getattr(torchvision.models, name)(weights=None).state_dict())
    expected = {key: value.shape for key, value in backbone.state_dict().items()}
    assert {key: value.shape for key, value in renamed.items() if not key.startswith("fc.")} == expected
    assert name in backbone.official_weights().where


@pytest.mark.parametrize("depth", ["400y", "800x"])
def test_computes_what_torchvision_does(depth: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reference: Any = getattr(torchvision.models, IN_TORCHVISION[depth])(weights=None).eval()
    weights = torchvision.models.get_model_weights(IN_TORCHVISION[depth])
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: reference.state_dict())
    backbone = RegNet(depth=depth, last_stride=2).eval()
    load_pretrained(backbone)
    reference.avgpool = reference.fc = nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images).flatten(1), reference(images))


@pytest.mark.parametrize("depth", [depth for depth in WIDTHS if depth not in IN_TORCHVISION])
def test_networks_that_torchvision_lacks_or_has_wider_have_weights_of_pycls(depth: str) -> None:
    address = without_weights(NAME, DEPTH=depth).official_weights().where
    size = int(depth[:-1])
    name = f"RegNet{depth[-1].upper()}-" + (f"{size}MF" if size < 1000 else f"{size / 1000:.1f}GF")
    assert address.startswith("https://dl.fbaipublicfiles.com/pycls/") and address.endswith(f"/{name}_dds_8gpu.pyth")


def test_weights_of_pycls_are_made_for_rgb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = RegNet(depth="200x")
    published = {**source.state_dict(), "head.fc.weight": torch.ones(1000, 368), "head.fc.bias": torch.ones(1000)}
    torch.save({"epoch": 99, "model_state": published, "cfg": "MODEL: {}"}, tmp_path / "RegNetX.pyth")
    asked: list[str] = []
    monkeypatch.setattr(released_weights, "local_file", lambda url: asked.append(url) or tmp_path / "RegNetX.pyth")
    backbone = RegNet(depth="200x", last_stride=2)
    load_pretrained(backbone)
    assert asked == ["https://dl.fbaipublicfiles.com/pycls/dds_baselines/160905981/RegNetX-200MF_dds_8gpu.pyth"]
    assert torch.equal(backbone.stem.conv.weight, source.stem.conv.weight.flip(1))
    assert torch.equal(backbone.s4[-1].f.c.weight, source.s4[-1].f.c.weight)
    torch.save(source.state_dict(), tmp_path / "ours.pth")
    load_pretrained(backbone, tmp_path / "ours.pth")
    assert torch.equal(backbone.stem.conv.weight, source.stem.conv.weight)
