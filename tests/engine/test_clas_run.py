"""A classifier is trained, evaluated, and evaluated again from its checkpoint."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastreid_ext.config import CfgNode
from fastreid_ext.data.datasets import build_dataset
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.engine.checkpoint import CheckpointError, read_checkpoint
from fastreid_ext.engine.trained_model import trained_model
from fastreid_ext.evaluation.evaluator import evaluate


def test_a_classifier_from_training_to_its_checkpoint(make_cfg: Callable[..., CfgNode], tmp_path: Path) -> None:
    images = sorted((tmp_path / "market" / "bounding_box_train").iterdir())
    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows: list[list[Any]] = [["path", "pid", "split"]]
        for image in images:
            splits = ["query", "gallery"] if image.stem.endswith("02_00") else ["train"]
            rows += [[image, f"class {image.name[:4]}", split] for split in splits]
        csv.writer(file).writerows(rows)
    spec = f"ImageList:{tmp_path / 'list.csv'}"
    keys = {"DATASETS__NAMES": (spec,), "DATASETS__TESTS": (spec,), "MODEL__HEADS__NAME": "ClasHead"}
    cfg = make_cfg(**keys, TEST__EVALUATOR="ClasEvaluator", TEST__BEST_METRIC="Acc@1", SOLVER__MAX_EPOCH=1)
    trainer = DefaultTrainer(cfg)
    results = trainer.train()
    assert results[spec]["classes"] == 8 and results[spec]["images"] == 16
    assert trainer.best is not None and trainer.best.best == results[spec]["Acc@1"]
    state = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_best.pth")
    model = trained_model(cfg, state, source="model_best.pth")
    again = evaluate(cfg, model, [build_dataset(spec)])
    assert again[spec]["Acc@1"] == pytest.approx(results[spec]["Acc@1"])
    del state["model"]["heads.weight"]
    with pytest.raises(CheckpointError, match=r"does not fit this model.*heads\.weight"):
        trained_model(cfg, state, source="model_best.pth")
