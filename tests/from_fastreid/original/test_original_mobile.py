"""FastReID's networks for small devices have the same features here."""

from __future__ import annotations

import pytest
import torch
from fastreid.modeling.backbones import build_backbone as build_original
from side_by_side import largest_difference, original_config

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones import build_backbone

NETWORKS = [
    *(("build_mobilenetv2_backbone", depth) for depth in ("1.0x", "0.75x", "0.5x", "0.35x", "0.25x", "0.1x")),
    *(("build_mobilenetv3_backbone", depth) for depth in ("Large", "Small")),
    *(("build_shufflenetv2_backbone", depth) for depth in ("0.5x", "1.0x", "1.5x", "2.0x")),
]


@pytest.mark.parametrize(("name", "depth"), NETWORKS)
@pytest.mark.parametrize("last_stride", [1, 2])
def test_features_are_equal(name: str, depth: str, last_stride: int) -> None:
    options = ["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.DEPTH", depth, "MODEL.BACKBONE.LAST_STRIDE", last_stride]
    theirs = build_original(original_config(options=options))
    ours = build_backbone(load_config(options=options))
    assert largest_difference(theirs, ours, torch.randn(4, 3, 64, 32)) <= 1e-5
