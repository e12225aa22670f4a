"""FastReID's vision transformers have the same features here, and get the same position embeddings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fastreid.modeling.backbones import build_backbone as build_original
from fastreid.modeling.backbones.vision_transformer import resize_pos_embed
from side_by_side import largest_difference, original_config

from fastreid_ext.config import load_config
from fastreid_ext.modeling.backbones import ViT, build_backbone

SIZE = ["INPUT.SIZE_TRAIN", [64, 32]]


@pytest.mark.parametrize(
    "options",
    [["DEPTH", "base"], ["DEPTH", "small"], ["DEPTH", "small", "STRIDE_SIZE", [12, 11]]],
    ids=lambda options: "-".join(map(str, options)),
)
def test_features_are_equal(options: list[Any]) -> None:
    given = ["MODEL.BACKBONE.NAME", "build_vit_backbone", *SIZE]
    given += [f"MODEL.BACKBONE.{item}" if index % 2 == 0 else item for index, item in enumerate(options)]
    theirs, ours = build_original(original_config(options=given)), build_backbone(load_config(options=given))
    assert largest_difference(theirs, ours, torch.randn(2, 3, 64, 32)) <= 1e-5


def test_position_embeddings_of_published_weights_are_equal() -> None:
    with torch.device("meta"):
        ours = ViT(depth="small", image_size=(256, 128), stride=(12, 12))
    published = torch.randn(1, 1 + 14 * 14, 768)
    expected = resize_pos_embed(published, torch.empty(ours.pos_embed.shape), *ours.grid)
    converted = ours.convert_weights({"pos_embed": published})["pos_embed"]
    assert (converted - expected).abs().max() <= 1e-6
