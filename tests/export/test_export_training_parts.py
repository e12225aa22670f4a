"""Models with much that only training needs, and with options of the evaluation that change them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from exported_models import SIZE, config, tiny_model
from safetensors import safe_open

from fastreid_ext.export import export_model
from fastreid_ext.inference import CheckpointEmbedder, open_embedder
from fastreid_ext.modeling.inference import prepare_for_inference

TRAINING = {
    "PROJECTS": ["moreid", "msinet"],
    "MODEL__META_ARCHITECTURE": "MoReID",
    "MODEL__LOSSES__NAME": ("CrossEntropyLoss", "HardDistanceElasticLoss", "SpatialAlignmentLoss"),
    "MODEL__MOREID__DICTIONARY_SIZE": 64,
}
PARTS = ("momentum_encoder", "dictionary", "criterion", "heads.weight")
STRATEGIES = {"TEST__MIXED_POOL__ENABLED": True, "TEST__LEAKY_RELU__ENABLED": True, "TEST__FLIP__ENABLED": False}


def names_in(path: Path) -> set[str]:
    if path.suffix == ".pt2":
        return {name.removeprefix("model.") for name in torch.export.load(path).state_dict}
    with safe_open(path, framework="pt") as file:
        return set(file.keys())


@pytest.mark.parametrize("kind", ["pt2", "safetensors"])
def test_what_only_training_needs_stays_behind(kind: str, tmp_path: Path) -> None:
    cfg = config(**TRAINING)
    model = tiny_model(cfg)
    assert all(any(name.startswith(part) for name in model.state_dict()) for part in PARTS)
    embedder = CheckpointEmbedder(cfg, model)
    path = export_model(embedder, tmp_path / f"model.{kind}").path
    bare = prepare_for_inference(tiny_model(config(PROJECTS=[]))).state_dict()
    # A trace has factors and terms in place of the neck.
    kept = {name for name in names_in(path) if kind == "safetensors" or not name.startswith("heads.bottleneck")}
    neck = {name for name in bare if kind == "pt2" and name.startswith("heads.bottleneck")}
    assert kept == bare.keys() - neck - {"heads.weight"}
    read = open_embedder(path, device="cpu")
    assert read.card == embedder.card


@pytest.mark.parametrize("kind", ["pt2", "safetensors"])
def test_strategies_of_the_evaluation_are_inside(kind: str, tmp_path: Path) -> None:
    cfg = config(**STRATEGIES)
    model, images = tiny_model(cfg), torch.randint(0, 256, (5, 3, *SIZE), dtype=torch.uint8)
    expected = CheckpointEmbedder(cfg, model).embed(images)
    without = CheckpointEmbedder(config(TEST__FLIP__ENABLED=False), model).embed(images)
    assert not torch.allclose(expected, without, rtol=0.01, atol=0.01)
    path = export_model(CheckpointEmbedder(cfg, model), tmp_path / f"model.{kind}").path
    torch.testing.assert_close(open_embedder(path, device="cpu").embed(images), expected, rtol=1e-4, atol=1e-5)
