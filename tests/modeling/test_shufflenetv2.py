"""ShuffleNetV2: all widths, their state names, and how channels are shuffled."""

from __future__ import annotations

import pytest
import torch
from backbone_checks import check_learning_and_folding, check_map, check_switches, last_relus, without_weights
from torch import nn

from fastreid_ext.config import ConfigError
from fastreid_ext.modeling.backbones import BACKBONES, PretrainedError, ShuffleNetV2, load_pretrained
from fastreid_ext.modeling.backbones.shufflenetv2 import ShuffleUnit

NAME = "build_shufflenetv2_backbone"


@pytest.mark.parametrize(("depth", "width"), [("0.5x", 1024), ("1.0x", 1024), ("1.5x", 1024), ("2.0x", 2048)])
def test_maps(depth: str, width: int) -> None:
    check_map(NAME, width, (8, 4), DEPTH=depth)


def test_last_stride_changes_nothing() -> None:
    check_map(NAME, 1024, (8, 4), DEPTH="0.5x", LAST_STRIDE=2)


def test_unknown_depth_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"ShuffleNetV2 has no depth '1x' .* Choose 0\.5x, 1\.0x, 1\.5x, 2\.0x"):
        without_weights(NAME, DEPTH="1x")
    assert BACKBONES.get("ShuffleNetV2") is ShuffleNetV2


def test_switches(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    check_switches(NAME, "0.5x", caplog, monkeypatch)


def test_learning_and_folding() -> None:
    check_learning_and_folding(ShuffleNetV2(depth="0.5x"))


def test_the_last_convolution_ends_in_the_last_relu() -> None:
    assert last_relus(NAME, "0.5x") == ["conv_last.2"]


def test_state_names() -> None:
    state = without_weights(NAME, DEPTH="1.0x").state_dict()
    shapes = {
        "first_conv.0.weight": (24, 3, 3, 3),
        "first_conv.1.running_var": (24,),
        "features.0.branch_proj.0.weight": (24, 1, 3, 3),
        "features.0.branch_proj.3.weight": (24,),
        "features.0.branch_main.0.weight": (58, 24, 1, 1),
        "features.0.branch_main.5.weight": (92, 58, 1, 1),
        "features.1.branch_main.3.weight": (58, 1, 3, 3),
        "features.4.branch_proj.2.weight": (116, 116, 1, 1),
        "features.15.branch_main.6.bias": (232,),
        "conv_last.0.weight": (1024, 464, 1, 1),
        "conv_last.1.running_mean": (1024,),
    }
    assert {key: tuple(state[key].shape) for key in shapes} == shapes
    assert "features.1.branch_proj.0.weight" not in state and "features.16.branch_main.0.weight" not in state


def test_even_channels_pass_and_odd_ones_are_convolved() -> None:
    unit = ShuffleUnit(8, 8, halves=False).eval()
    unit.branch_main = nn.Identity()
    x = torch.arange(8.0).view(1, 8, 1, 1)
    assert unit(x).flatten().tolist() == [0, 2, 4, 6, 1, 3, 5, 7]
    assert ShuffleUnit(8, 20, halves=True).eval()(torch.randn(2, 8, 6, 4)).shape == (2, 20, 3, 2)


def test_weights_are_to_be_fetched_by_people() -> None:
    with pytest.raises(PretrainedError, match=r"Download the trained model ShuffleNetV2 0\.5x of its authors"):
        load_pretrained(ShuffleNetV2(depth="0.5x"))
