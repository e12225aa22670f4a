"""FastReID's MoCo: the loss against the memory, with each image's own entry left out in every batch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.inference import prepare_for_inference
from fastreid_ext.modeling.meta_arch import MoCo

PIDS = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


def config(**more: Any) -> CfgNode:
    cfg = get_cfg()
    model = {
        "META_ARCHITECTURE": "MoCo",
        "DEVICE": "cpu",
        "QUEUE_SIZE": 20,
        "BACKBONE": {"NAME": "build_osnet_backbone", "DEPTH": "x0_25", "FEAT_DIM": 128},
        "HEADS": {"NUM_CLASSES": 4, "EMBEDDING_DIM": 6, "NECK_FEAT": "after"},
        "LOSSES": {"NAME": ("CrossEntropyLoss", "TripletLoss")},
    }
    cfg.merge_from_mapping({"MODEL": model, "INPUT": {"SIZE_TRAIN": [32, 16]}, "SOLVER": {"IMS_PER_BATCH": 8}})
    cfg.merge_from_mapping(more)
    return cfg


def batch(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (8, 3, 32, 16), generator=generator).float()
    return {"images": images, "targets": PIDS[torch.randperm(8, generator=generator)]}


def slow_loss(features: Tensor, pids: Tensor, memory: list[tuple[Tensor, int, int]], first: int) -> float:
    """`memory` has (feature, identity, number of the image); the batch's images are numbered from `first`."""
    losses = []
    for number, (query, pid) in enumerate(zip(features, pids.tolist(), strict=True)):
        positives = [query @ key for key, other, image in memory if other == pid and image != first + number]
        negatives = [query @ key for key, other, _ in memory if other != pid]
        pairs = sum(math.exp(32 * (n + 0.25 - p)) for n in negatives for p in positives)
        losses.append(math.log1p(pairs))
    return sum(losses) / len(losses)


def test_equals_the_loop_batch_after_batch() -> None:
    model = build_model(config())
    assert isinstance(model, MoCo) and model.memory.dim == 6
    seen: list[tuple[Tensor, int, int]] = []
    for number in range(5):
        data = batch(number)
        losses = model(data)
        assert set(losses) == {"loss_cls", "loss_triplet", "loss_mb"}
        maps = model.backbone(model.normalize(data["images"]))
        unit = normalize(model.heads(maps, data["targets"])["features"].detach())
        pids: list[int] = data["targets"].tolist()
        seen += [(row, pid, 8 * number + image) for image, (row, pid) in enumerate(zip(unit, pids, strict=True))]
        seen = seen[-20:]
        expected = slow_loss(unit, data["targets"], seen, 8 * number)
        assert losses["loss_mb"].item() == pytest.approx(expected, rel=1e-3)
        assert model.memory.filled == len(seen)


def test_gradients_reach_the_network_and_not_the_memory() -> None:
    model = build_model(config())
    model(batch(0))["loss_mb"].backward()
    assert model.heads.bottleneck[0].weight.grad.abs().sum() > 0
    assert not model.memory.features.requires_grad


def test_the_memory_is_of_training_only() -> None:
    model = build_model(config())
    with torch.no_grad():
        assert "loss_mb" not in model(batch(0))
    model.eval()(batch(0)["images"])
    assert model.memory.filled == 0
    assert [name for name, _ in prepare_for_inference(model).named_children()] == ["backbone", "heads"]


def test_a_memory_smaller_than_a_batch_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"MODEL.QUEUE_SIZE 7 is smaller than a batch of 8"):
        build_model(config(MODEL={"QUEUE_SIZE": 7}))
