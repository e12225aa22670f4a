"""FastReID's RepVGGs have the same features here, as they are trained and as they are deployed."""

from __future__ import annotations

import pytest
import torch
from fastreid.modeling.backbones import build_backbone as build_original
from side_by_side import largest_difference, original_config

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones import build_backbone, reparameterized

NAME = ["MODEL.BACKBONE.NAME", "build_repvgg_backbone"]


@pytest.mark.parametrize("depth", ["A0", "A1", "A2", "B0", "B1", "B1g2", "B1g4"])
def test_features_are_equal(depth: str) -> None:
    options = [*NAME, "MODEL.BACKBONE.DEPTH", depth]
    theirs, ours = build_original(original_config(options=options)), build_backbone(load_config(options=options))
    assert largest_difference(theirs, ours, torch.randn(4, 3, 64, 32)) <= 1e-5


@pytest.mark.parametrize("depth", ["B2", "B2g2", "B2g4", "B3", "B3g2", "B3g4"])
def test_state_names_and_shapes_are_equal(depth: str) -> None:
    options = [*NAME, "MODEL.BACKBONE.DEPTH", depth]
    with torch.device("meta"):
        theirs, ours = build_original(original_config(options=options)), build_backbone(load_config(options=options))
    expected, found = theirs.state_dict(), ours.state_dict()
    assert {key: value.shape for key, value in found.items()} == {key: value.shape for key, value in expected.items()}


@torch.no_grad()
@pytest.mark.parametrize(("depth", "last_stride"), [("A0", 1), ("A0", 2), ("B1g4", 1)])
def test_deployed_networks_are_equal(depth: str, last_stride: int) -> None:
    options = [*NAME, "MODEL.BACKBONE.DEPTH", depth, "MODEL.BACKBONE.LAST_STRIDE", last_stride]
    theirs, ours = build_original(original_config(options=options)), build_backbone(load_config(options=options))
    images = torch.randn(2, 3, 64, 32)
    assert largest_difference(theirs, ours, images) <= 1e-5
    # Both are exact but for rounding, which random weights magnify.
    expected, fused = theirs.double()(images.double()), reparameterized(ours.double())
    assert largest(fused(images.double()), expected) <= 1e-9
    theirs.deploy(True)
    assert fused.state_dict().keys() == theirs.state_dict().keys()
    fresh = reparameterized(build_backbone(load_config(options=options))).double()
    fresh.load_state_dict(theirs.state_dict(), strict=True)
    assert largest(fresh(images.double()), expected) <= 1e-9


def largest(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1))
