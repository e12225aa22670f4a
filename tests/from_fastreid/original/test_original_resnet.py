"""FastReID's ResNets and OSNets have the same features here."""

from __future__ import annotations

import pytest
import torch
from fastreid.modeling.backbones import build_backbone as build_original
from side_by_side import largest_difference, original_config

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones import build_backbone

RESNETS = [
    ["DEPTH", depth, *more]
    for depth in ("18x", "34x", "50x", "101x")
    for more in ([], ["WITH_IBN", True], ["WITH_SE", True], ["WITH_NL", True], ["LAST_STRIDE", 2])
]
OSNETS = [
    ["NAME", "build_osnet_backbone", "DEPTH", depth, "WITH_IBN", with_ibn]
    for depth in ("x1_0", "x0_75", "x0_5", "x0_25")
    for with_ibn in (False, True)
]


@pytest.mark.parametrize("options", RESNETS + OSNETS, ids=lambda options: "-".join(map(str, options)))
def test_features_are_equal(options: list[str]) -> None:
    given = [f"MODEL.BACKBONE.{item}" if index % 2 == 0 else item for index, item in enumerate(options)]
    theirs = build_original(original_config(options=given))
    ours = build_backbone(load_config(options=[*given, "COMPAT.ONE_CHANNEL_NON_LOCAL", True]))
    assert largest_difference(theirs, ours, torch.randn(4, 3, 64, 32)) <= 1e-5
