"""Configs of older versions of FastReID in today's spelling."""

from pathlib import Path
from typing import Any

import pytest

from fastreid_ext.compat.config_report import explain
from fastreid_ext.compat.config_report.old_config import OldConfig, check_options, read_old_config
from fastreid_ext.config import load_config

# As v0.1 had it: lengths in iterations.
V0_1 = """
MODEL:
  OPEN_LAYERS: heads
  BACKBONE: {DEPTH: 50, WITH_IBN: True}
  HEADS: {NAME: BNneckHead, POOL_LAYER: gempool, CLS_LAYER: circle, SCALE: 128, MARGIN: 0.25}
INPUT:
  DO_AUTOAUG: True
  DO_PAD: False
DATASETS:
  NAMES: ("DukeMTMC",)
  TESTS: ("DukeMTMC",)
DATALOADER: {PK_SAMPLER: True, NAIVE_WAY: True}
SOLVER:
  MAX_ITER: 18000
  STEPS: [8000, 14000]
  SCHED: WarmupMultiStepLR
  WARMUP_ITERS: 2000
  CHECKPOINT_PERIOD: 6000
  SWA: {ENABLED: False}
TEST: {EVAL_PERIOD: 2000}
"""


def read(folder: Path, text: str = "", *options: Any) -> OldConfig:
    path = folder / "old.yml"
    path.write_text(text, encoding="utf-8")
    return read_old_config(path, options)


def test_config_of_v0_1(tmp_path: Path) -> None:
    old = read(tmp_path, V0_1)
    model, solver = old.cfg.MODEL, old.cfg.SOLVER
    assert not old.unknown and not old.refused and old.counts_from_start
    assert (model.BACKBONE.DEPTH, model.HEADS.NAME, model.HEADS.WITH_BNNECK) == ("50x", "EmbeddingHead", True)
    assert (model.HEADS.POOL_LAYER, model.HEADS.CLS_LAYER) == ("GeneralizedMeanPooling", "CircleSoftmax")
    assert model.FREEZE_LAYERS == ["backbone"] and old.cfg.DATALOADER.SAMPLER_TRAIN == "NaiveIdentitySampler"
    # Of 258 iterations an epoch.
    assert (solver.MAX_EPOCH, solver.STEPS, solver.CHECKPOINT_PERIOD) == (70, [31, 54], 23)
    assert (old.cfg.TEST.EVAL_PERIOD, solver.WARMUP_ITERS) == (8, 2000)
    inputs = old.cfg.INPUT
    assert (inputs.FLIP.ENABLED, inputs.PADDING.ENABLED, inputs.AUTOAUG.PROB) == (True, False, 0.1)


def test_its_schedule_counted_from_the_start(tmp_path: Path) -> None:
    read(tmp_path, V0_1)
    explanation = explain(tmp_path / "old.yml", published=True)
    assert explanation.spellings and "SCHEDULE_AFTER_WARMUP" not in explanation.modern
    path = tmp_path / "modern.yml"
    path.write_text(explanation.modern, encoding="utf-8")
    assert load_config(path).SOLVER.STEPS == [31, 54]


def test_config_of_v1_0_counts_epochs(tmp_path: Path) -> None:
    text = "SOLVER: {MAX_ITER: 120, WARMUP_ITERS: 10, FREEZE_ITERS: 5, DELAY_ITERS: 30, STEPS: [40, 90]}"
    solver = read(tmp_path, text).cfg.SOLVER
    assert (solver.MAX_EPOCH, solver.STEPS, solver.DELAY_EPOCHS) == (120, [40, 90], 30)
    assert (solver.WARMUP_ITERS, solver.FREEZE_ITERS) == (2020, 1010)


def test_lengths_on_data_of_unknown_size_are_left_to_people(tmp_path: Path) -> None:
    text = "DATASETS: {NAMES: [Mine]}\nSOLVER: {MAX_ITER: 18000, WARMUP_EPOCHS: 10}"
    told = {finding.key: finding.text for finding in read(tmp_path, text).spellings}
    assert "Counts iterations" in told["SOLVER.MAX_ITER"] and "by hand" in told["SOLVER.MAX_ITER"]
    assert "set SOLVER.WARMUP_ITERS" in told["SOLVER.WARMUP_EPOCHS"]


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [
        (["SOLVER.FP16_ENABLED", True], "SOLVER.AMP.ENABLED", True),
        (["INPUT.PADDING", 4], "INPUT.PADDING.SIZE", 4),
        (["INPUT.REA.MEAN", [1.0, 2.0, 3.0]], "INPUT.REA.VALUE", [1.0, 2.0, 3.0]),
        (["MODEL.HEADS.POOL_LAYER", "avgmaxpool"], "MODEL.HEADS.POOL_LAYER", "AdaptiveAvgMaxPool"),
        (["MODEL.HEADS.NAME", "LinearHead"], "MODEL.HEADS.WITH_BNNECK", False),
        (["MODEL.HEADS.NAME", "ReductionHead", "MODEL.HEADS.REDUCTION_DIM", 256], "MODEL.HEADS.EMBEDDING_DIM", 256),
        (["MODEL.HEADS.NAME", "BNneckHead", "MODEL.HEADS.REDUCTION_DIM", 256], "MODEL.HEADS.EMBEDDING_DIM", 0),
        (["MODEL.LOSSES.CIRCLE.ALPHA", 64], "MODEL.LOSSES.CIRCLE.GAMMA", 64.0),
        (["DATALOADER.PK_SAMPLER", False], "DATALOADER.SAMPLER_TRAIN", "TrainingSampler"),
        (["DATALOADER.PK_SAMPLER", True], "DATALOADER.SAMPLER_TRAIN", "BalancedIdentitySampler"),
        (["SOLVER.WARMUP_EPOCHS", 10], "SOLVER.WARMUP_ITERS", 2020),
        (["SOLVER.SCHED", "WarmupCosineAnnealingLR"], "SOLVER.SCHED", "CosineAnnealingLR"),
        # The linear classifier of that time had no scale.
        (["MODEL.HEADS.CLS_LAYER", "linear", "MODEL.HEADS.SCALE", 128], "MODEL.HEADS.SCALE", 1.0),
        (["MODEL.HEADS.CLS_LAYER", "arcface"], "MODEL.HEADS.SCALE", 128.0),
    ],
)
def test_spelling(written: list[Any], key: str, value: object, tmp_path: Path) -> None:
    old = read(tmp_path, "", *written)
    assert old.value(key) == value and old.spellings and not old.unknown


def test_today_keeps_todays_defaults(tmp_path: Path) -> None:
    assert not read(tmp_path, "", "MODEL.BACKBONE.DEPTH", "101x").spellings
    # Its README still has this key.
    old = read(tmp_path, "", "SOLVER.FP16_ENABLED", True)
    assert len(old.spellings) == 1 and not old.cfg.INPUT.FLIP.ENABLED


def test_older_spellings_on_the_command_line(tmp_path: Path) -> None:
    options = ["SOLVER.MAX_ITER", "20200", "SOLVER.STEPS", "[8080]", "DATALOADER.PK_SAMPLER", "False"]
    cfg = read(tmp_path, "", *options).cfg
    assert (cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.STEPS) == (100, [40])
    assert cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler"
    check_options([*options, "MODEL.BACKBONE.DEPTH", "50"])
