"""FastReID's ResNeXts have the same features here."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fastreid.modeling.backbones import build_backbone as build_original
from side_by_side import largest_difference, original_config

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones import build_backbone


@pytest.mark.parametrize("more", [[], ["WITH_IBN", True], ["WITH_NL", True], ["LAST_STRIDE", 2]], ids=str)
@pytest.mark.parametrize("depth", ["50x", "101x"])
def test_features_are_equal(depth: str, more: list[Any]) -> None:
    given = ["NAME", "build_resnext_backbone", "DEPTH", depth, *more]
    options = [f"MODEL.BACKBONE.{item}" if index % 2 == 0 else item for index, item in enumerate(given)]
    theirs = build_original(original_config(options=options))
    ours = build_backbone(load_config(options=[*options, "COMPAT.ONE_CHANNEL_NON_LOCAL", True]))
    assert largest_difference(theirs, ours, torch.randn(4, 3, 64, 32)) <= 1e-5
