"""FastReID's RegNets and EfficientNets have the same features here."""

from __future__ import annotations

import pytest
import torch
from fastreid.modeling.backbones import build_backbone as build_original
from fastreid.modeling.backbones.regnet.config import cfg as original_networks
from side_by_side import beside_fastreid, largest_difference, original_config

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones import build_backbone

REGNETS = [
    ("build_regnet_backbone", f"{size}{kind}", 1) for size in (200, 400, 800, 1600, 3200, 4000, 6400) for kind in "xy"
]
EFFNETS = [("build_effnet_backbone", f"b{size}", 1) for size in range(6)]
LAST_STRIDES = [("build_regnet_backbone", "400y", 2), ("build_effnet_backbone", "b0", 2)]


@pytest.mark.parametrize(("name", "depth", "last_stride"), REGNETS + EFFNETS + LAST_STRIDES)
def test_features_are_equal(name: str, depth: str, last_stride: int) -> None:
    # FastReID reads all networks into this one config, in which the gates of a RegNetY stay on.
    original_networks.REGNET.SE_ON = False
    options = ["MODEL.BACKBONE.NAME", name, "MODEL.BACKBONE.DEPTH", depth, "MODEL.BACKBONE.LAST_STRIDE", last_stride]
    with beside_fastreid():
        theirs = build_original(original_config(options=options))
    ours = build_backbone(load_config(options=options))
    images = torch.randn(4, 3, 64, 32)
    if "effnet" in name:
        # Rounding alone makes 2e-5 of a difference in single precision, since SiLU is computed in another way.
        theirs, ours, images = theirs.double(), ours.double(), images.double()
    assert largest_difference(theirs, ours, images) <= 1e-5
