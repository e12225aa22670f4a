"""FastReID's ResNeSts have the same features here."""

from __future__ import annotations

import pytest
import torch
from fastreid.modeling.backbones import build_backbone as build_original
from side_by_side import CONFIGS, largest_difference, original_config
from torch import nn

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones import build_backbone

NAME = ["MODEL.BACKBONE.NAME", "build_resnest_backbone"]


@pytest.mark.parametrize(("depth", "last_stride"), [("50x", 1), ("50x", 2), ("101x", 1)])
def test_features_are_equal(depth: str, last_stride: int) -> None:
    options = [*NAME, "MODEL.BACKBONE.DEPTH", depth, "MODEL.BACKBONE.LAST_STRIDE", last_stride]
    theirs, ours = build_original(original_config(options=options)), build_backbone(load_config(options=options))
    # The norms inside the attention see four values a channel, so that single precision would lose too much.
    assert largest_difference(theirs.double(), ours.double(), torch.randn(4, 3, 64, 32).double()) <= 1e-9


@pytest.mark.parametrize("depth", ["200x", "269x"])
def test_state_names_and_shapes_are_equal(depth: str) -> None:
    options = [*NAME, "MODEL.BACKBONE.DEPTH", depth]
    with torch.device("meta"):
        theirs, ours = build_original(original_config(options=options)), build_backbone(load_config(options=options))
    assert shapes(theirs) == shapes(ours)


@pytest.mark.parametrize("method", ["bagtricks", "AGW", "sbs"])
def test_its_configs_give_the_same_network(method: str) -> None:
    file = f"Market1501/{method}_S50.yml"
    with torch.device("meta"):
        theirs = build_original(original_config(file))
        ours = build_backbone(load_config(CONFIGS / file, options=["MODEL.BACKBONE.PRETRAIN", False]))
    assert shapes(theirs) == shapes(ours)


def shapes(model: nn.Module) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in model.state_dict().items()}
