"""One name for one way of making embeddings."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from small_models import small_config, small_model
from torch import nn

from fastreid_ext.inference.fingerprint import fingerprint
from fastreid_ext.inference.saved_config import embedding_options


def of(model: nn.Module, **options: Any) -> str:
    return fingerprint(model, options)


def test_what_changes_no_embedding_changes_no_fingerprint() -> None:
    model = small_model(small_config())
    expected = of(model)
    assert len(expected) == 16 and int(expected, 16) >= 0
    weights = model.state_dict()
    weights["heads.weight"].zero_()
    weights["heads.bottleneck.0.num_batches_tracked"] += 1
    assert of(model) == expected
    assert of(copy.deepcopy(model).to(memory_format=torch.channels_last)) == expected
    assert of(copy.deepcopy(model).double()) == expected
    model.heads.weight = nn.Parameter(torch.zeros(1, 3))
    assert of(model) == expected


def test_every_weight_counts() -> None:
    model = small_model(small_config())
    before = of(model)
    for name in ("backbone.conv1.conv.weight", "heads.bottleneck.0.running_var"):
        tensor = model.state_dict()[name]
        tensor.view(-1)[0] += 1e-3
        assert of(model) != before, name
        tensor.view(-1)[0] -= 1e-3
        assert of(model) == before, name
    assert of(model, flip=True) != before


@pytest.mark.parametrize(
    "options",
    [
        {"TEST.FLIP.ENABLED": True},
        {"TEST.MIXED_POOL.ENABLED": True},
        {"TEST.MIXED_POOL.ENABLED": True, "TEST.MIXED_POOL.ALPHA": 0.25},
        {"TEST.LEAKY_RELU.ENABLED": True},
        {"INPUT.SIZE_TEST": [64, 32]},
        {"INPUT.CROP.ENABLED": True},
        {"MODEL.PIXEL_MEAN": [0.0, 0.0, 0.0]},
        {"MODEL.HEADS.NECK_FEAT": "after"},
        {"MODEL.HEADS.POOL_LAYER": "GlobalMaxPool"},
    ],
    ids=str,
)
def test_options_that_change_embeddings_count(options: dict[str, Any]) -> None:
    assert embedding_options(small_config(options)) != embedding_options(small_config())


def test_options_that_are_off_do_not_count() -> None:
    options = {"TEST.MIXED_POOL.ALPHA": 0.25, "INPUT.CROP.SIZE": [8, 8], "MODEL.CHANNELS_LAST": True, "SEED": 3}
    assert embedding_options(small_config(options)) == embedding_options(small_config())
