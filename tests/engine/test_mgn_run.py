"""A whole training of MGN, and evaluations of its checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.config import CfgNode
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.engine.checkpoint import CheckpointError, load_weights, read_checkpoint
from fastreid_ext.engine.cli.train import train_or_evaluate
from fastreid_ext.modeling import build_model

SMALL_MGN = {
    "MODEL__META_ARCHITECTURE": "MGN",
    "MODEL__BACKBONE__NAME": "build_resnet_backbone",
    "MODEL__BACKBONE__DEPTH": "18x",
    "MODEL__BACKBONE__FEAT_DIM": 512,
    "MODEL__HEADS__EMBEDDING_DIM": 8,
    "INPUT__SIZE_TRAIN": [64, 32],
    "INPUT__SIZE_TEST": [64, 32],
    "MODEL__FREEZE_LAYERS": ["backbone", "b1", "b2", "b3"],
    "SOLVER__FREEZE_ITERS": 2,
    "SOLVER__MAX_EPOCH": 1,
    "SOLVER__OPT": "SGD",
    "SOLVER__MOMENTUM": 0.0,
}


def results(cfg: CfgNode) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text())
    return found


def test_a_training_and_the_evaluation_of_its_checkpoint(
    make_cfg: Callable[..., CfgNode], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = make_cfg(**SMALL_MGN)
    trainer = DefaultTrainer(cfg)
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    lines = [json.loads(line) for line in (Path(cfg.OUTPUT_DIR) / "metrics.jsonl").read_text().splitlines()]
    losses = {name for line in lines for name in line if name.startswith("loss_")}
    assert len(losses) == 13 and all(math.isfinite(line.get(name, 0)) for line in lines for name in losses)
    moved = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    assert any(name.startswith("b3_head.") for name in moved) and any(name.startswith("b3.") for name in moved)
    weights = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    # As many classes as the checkpoint has, whatever the config says: its classifiers are loaded, too.
    again = make_cfg("again", **SMALL_MGN, MODEL__WEIGHTS=str(weights), MODEL__HEADS__NUM_CLASSES=3)
    with caplog.at_level("INFO"):
        train_or_evaluate(again, False, True)
    assert "passed over" not in caplog.text and "left as initialised" not in caplog.text
    assert results(again) == results(cfg)


def test_checkpoints_of_other_data_and_of_other_models(make_cfg: Callable[..., CfgNode], tmp_path: Path) -> None:
    cfg = make_cfg(**SMALL_MGN, MODEL__HEADS__NUM_CLASSES=5)
    weights = build_model(cfg).state_dict()
    other = build_model(make_cfg(**SMALL_MGN, MODEL__HEADS__NUM_CLASSES=7))
    report = load_weights(other, {"model": weights}, for_inference=True)
    assert len(report.other_shape) == 8 and not report.missing
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, tmp_path / "foreign.pth")
    assert load_weights(other, read_checkpoint(tmp_path / "foreign.pth"), for_inference=True).loaded == report.loaded
    baseline = build_model(
        make_cfg(**SMALL_MGN | {"MODEL__META_ARCHITECTURE": "Baseline", "MODEL__HEADS__NUM_CLASSES": 5})
    )
    with pytest.raises(CheckpointError, match="no weight of the backbone fits"):
        load_weights(other, baseline.state_dict())
    del weights["b2_head.bottleneck.0.weight"]
    with pytest.raises(CheckpointError, match="does not fit this model"):
        load_weights(other, weights, for_inference=True)
