"""Whole trainings of MoReID: resumed ones, evaluations of their checkpoints, and what else follows the weights."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.config import CfgNode
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.cli.train import train_or_evaluate
from fastreid_ext.engine.hooks import Hook, TrainingInterrupted

MakeCfg = Callable[..., CfgNode]

SMALL = {
    "PROJECTS": ["moreid"],
    "MODEL__META_ARCHITECTURE": "MoReID",
    "MODEL__LOSSES__NAME": ("CrossEntropyLoss", "HardDistanceElasticLoss", "WeightedTripletLoss"),
    "MODEL__MOREID__DICTIONARY_SIZE": 20,
    "MODEL__MOREID__MOMENTUM": 0.9,
    "MODEL__MOREID__MOMENTUM_SCHEDULE": "cosine",
}


class At(Hook):
    """Does something after a step."""

    def __init__(self, iteration: int, act: Callable[[], object]) -> None:
        self.iteration, self.act = iteration, act

    def after_step(self) -> None:
        if self.trainer.iteration == self.iteration:
            self.act()


def train(cfg: CfgNode, *, resume: bool = False, hook: Hook | None = None) -> DefaultTrainer:
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load(resume)
    trainer.loop.register_hooks([hook] if hook else [])
    trainer.train()
    return trainer


def model_of(cfg: CfgNode, name: str = "model_final") -> dict[str, Any]:
    weights: dict[str, Any] = read_checkpoint(Path(cfg.OUTPUT_DIR) / f"{name}.pth")["model"]
    return weights


def assert_equal(one: dict[str, Any], other: dict[str, Any]) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def results_of(cfg: CfgNode) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(cfg.OUTPUT_DIR) / "results.json").read_text())
    return found


@pytest.mark.parametrize("stop", [4, 6, 9])
def test_a_stopped_and_resumed_run_equals_another_bit_for_bit(make_cfg: MakeCfg, stop: int) -> None:
    whole, stopped = make_cfg("whole", **SMALL), make_cfg("stopped", **SMALL)
    train(whole)
    with pytest.raises(TrainingInterrupted):
        train(stopped, hook=At(stop, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    train(stopped, resume=True)
    weights = model_of(whole)
    assert weights["dictionary.num_batches"] == 12 and weights["dictionary.filled"] == 20
    assert weights["dictionary.pointer"] == 12 * 8 % 20
    assert_equal(weights, model_of(stopped))
    assert results_of(whole) == results_of(stopped)


def test_a_killed_run_goes_on_from_its_last_checkpoint(make_cfg: MakeCfg) -> None:
    whole, killed = make_cfg("whole", **SMALL), make_cfg("killed", **SMALL)
    train(whole)

    def crash() -> None:
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(killed, hook=At(9, crash))
    train(killed, resume=True)
    assert_equal(model_of(whole), model_of(killed))


def test_the_momentum_encoder_follows_each_step_of_the_optimizer(make_cfg: MakeCfg) -> None:
    followed: list[float] = []
    cfg = make_cfg(**SMALL, SOLVER__ACCUMULATION_STEPS=2)
    trainer = DefaultTrainer(cfg)
    model: Any = trainer.model
    after_step = model.after_step
    model.after_step = lambda progress: (followed.append(progress), after_step(progress))
    trainer.train()
    assert followed == [step / 12 for step in range(1, 13)]
    # Half of the batch at a time.
    assert model.dictionary.num_batches == 24


def test_evaluation_needs_the_main_encoder_only(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(**SMALL)
    train(cfg)
    weights = str(Path(cfg.OUTPUT_DIR) / "model_final.pth")
    for name, more in (("same", SMALL), ("baseline", {})):
        again = make_cfg(name, **more, MODEL__WEIGHTS=weights)
        train_or_evaluate(again, False, True)
        assert results_of(again) == results_of(cfg)


def test_batch_norm_statistics_and_averaged_weights_leave_the_dictionary_alone(make_cfg: MakeCfg) -> None:
    plain, precise = make_cfg("plain", **SMALL), make_cfg(
        "precise", **SMALL, TEST__PRECISE_BN__ENABLED=True, TEST__PRECISE_BN__NUM_ITER=3
    )  # fmt: skip
    weights, others = model_of(_trained(plain)), model_of(_trained(precise))
    assert not torch.equal(weights["backbone.conv1.bn.running_mean"], others["backbone.conv1.bn.running_mean"])
    for name, value in weights.items():
        of_main = name.startswith(("backbone.", "heads."))
        if not (of_main and any(part in name for part in ("running", "num_batches_tracked"))):
            assert torch.equal(value, others[name]), name
    averaged = _trained(make_cfg("averaged", **SMALL, SOLVER__EMA__ENABLED=True))
    training = read_checkpoint(Path(averaged.OUTPUT_DIR) / "model_final.pth")["training_model"]
    assert_equal(training, weights)


def _trained(cfg: CfgNode) -> CfgNode:
    train(cfg)
    return cfg


def test_another_training_starts_with_an_empty_dictionary(make_cfg: MakeCfg) -> None:
    weights = str(Path(_trained(make_cfg(**SMALL)).OUTPUT_DIR) / "model_final.pth")
    trainer = DefaultTrainer(make_cfg("next", **SMALL, MODEL__WEIGHTS=weights))
    trainer.resume_or_load()
    model: Any = trainer.model
    assert model.dictionary.filled == 0
    assert torch.equal(model.heads.weight, read_checkpoint(weights)["model"]["heads.weight"])


def test_auto_is_the_rate_for_the_number_of_images(make_cfg: MakeCfg, caplog: pytest.LogCaptureFixture) -> None:
    cfg = make_cfg(SOLVER__BASE_LR="auto", SOLVER__MAX_EPOCH=1)
    with caplog.at_level("INFO"):
        trainer = train(cfg)
    images = len(trainer.data.samples)
    assert pytest.approx(0.001 * 8 / 256) == trainer.cfg.SOLVER.BASE_LR
    assert f"SOLVER.BASE_LR auto is 3.125e-05 for {images} training images and 8 of them a step" in caplog.text
    assert trainer.optimizer.param_groups[0]["initial_lr"] == pytest.approx(3.125e-05)
    assert "BASE_LR: 3.125e-05" in (Path(cfg.OUTPUT_DIR) / "config.yaml").read_text()
    train(make_cfg(SOLVER__BASE_LR="auto", SOLVER__MAX_EPOCH=2), resume=True)
