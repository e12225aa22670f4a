"""Trainings in two stages: losses, sampler, rate and optimizer of each, and resuming in both."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import NaiveIdentitySampler, StagedSampler, TrainingSampler, build_sampler
from fastreid_ext.engine import DefaultTrainer
from fastreid_ext.engine.checkpoint import read_checkpoint
from fastreid_ext.engine.hooks import Hook, TrainingInterrupted
from fastreid_ext.engine.resume import check_resumed_config
from fastreid_ext.modeling.losses import CrossEntropyLoss, TripletLoss
from fastreid_ext.modeling.losses.criterion import Criterion, build_criterion

MakeCfg = Callable[..., CfgNode]

# Six steps an epoch: the second stage begins at step 6.
STAGES: dict[str, Any] = {
    "MODEL__LOSSES__NAME": ("TripletLoss",),
    "SOLVER__MAX_EPOCH": 2,
    "SOLVER__LOG_PERIOD": 1,
    "SOLVER__WARMUP_ITERS": 0,
    "SOLVER__STEPS": [50],
    "SOLVER__FIRST_STAGE__EPOCHS": 1,
    "SOLVER__FIRST_STAGE__BASE_LR": 1e-4,
    "SOLVER__FIND_UNUSED_PARAMETERS": True,
}


class At(Hook):
    """Does something when so many steps are done."""

    def __init__(self, iteration: int, action: Callable[[], Any]) -> None:
        self.iteration, self.action = iteration, action

    def after_step(self) -> None:
        if self.trainer.iteration == self.iteration:
            self.action()


def prepared(cfg: CfgNode, *hooks: Hook, resume: bool = False) -> DefaultTrainer:
    trainer = DefaultTrainer(cfg)
    for hook in hooks:
        hook.trainer = trainer.loop
        trainer.loop.hooks.insert(0, hook)
    trainer.resume_or_load(resume)
    return trainer


def lines(cfg: CfgNode) -> list[dict[str, float]]:
    found = [json.loads(line) for line in (Path(cfg.OUTPUT_DIR) / "metrics.jsonl").read_text().splitlines()]
    return [line for line in found if "total_loss" in line]


def test_stages_have_losses_and_rates_of_their_own(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(**STAGES)
    moments: dict[int, int] = {}
    trainer = prepared(cfg, *(At(step, lambda s=step: moments.update({s: step_of(trainer)})) for step in (6, 7)))
    trainer.train()
    logged = lines(cfg)
    # Nothing of the first stage is in the smoothed figures of the second.
    assert logged[6]["total_loss"] == logged[6]["loss_triplet"]
    assert [("loss_cls" in line, "loss_triplet" in line) for line in logged] == [(True, False)] * 6 + [
        (False, True)
    ] * 6
    assert [line["lr"] for line in logged] == pytest.approx([1e-4] * 6 + [3e-4] * 6)
    # The optimizer of the second stage has seen one step after its first.
    assert moments == {6: 6, 7: 1}


def step_of(trainer: DefaultTrainer) -> int:
    """Steps that the optimizer remembers of the first weight."""
    return int(trainer.optimizer.state[trainer.optimizer.param_groups[0]["params"][0]]["step"])


def test_a_run_resumed_in_either_stage_equals_an_uninterrupted_one(make_cfg: MakeCfg) -> None:
    whole = make_cfg("whole", **STAGES)
    prepared(whole).train()
    expected = read_checkpoint(Path(whole.OUTPUT_DIR) / "model_final.pth")["model"]
    for stop in (4, 6, 9):
        cfg = make_cfg(f"stopped{stop}", **STAGES)
        with pytest.raises(TrainingInterrupted):
            prepared(cfg, At(stop, lambda: os.kill(os.getpid(), signal.SIGTERM))).train()
        prepared(cfg, resume=True).train()
        found = read_checkpoint(Path(cfg.OUTPUT_DIR) / "model_final.pth")["model"]
        assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_a_resumed_run_cannot_change_its_stages(make_cfg: MakeCfg) -> None:
    with pytest.raises(TrainingInterrupted):
        prepared(make_cfg(**STAGES), At(2, lambda: os.kill(os.getpid(), signal.SIGTERM))).train()
    changed = {**STAGES, "SOLVER__FIRST_STAGE__BASE_LR": 2e-4}
    with pytest.raises(ConfigError, match=r"cannot be resumed[\s\S]*FIRST_STAGE.BASE_LR"):
        prepared(make_cfg(**changed), resume=True)


def test_a_run_from_before_there_were_stages_is_resumed(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(SOLVER__MAX_EPOCH=1)
    saved = yaml.safe_load(cfg.dump())
    del saved["SOLVER"]["FIRST_STAGE"], saved["TEST"]["MIXED_POOL"]
    assert check_resumed_config(yaml.safe_dump(saved), make_cfg(SOLVER__MAX_EPOCH=2)) == ["SOLVER.MAX_EPOCH: 1 -> 2"]
    with pytest.raises(ConfigError, match=r"SOLVER.FIRST_STAGE.EPOCHS: 0 -> 1"):
        check_resumed_config(yaml.safe_dump(saved), make_cfg(SOLVER__MAX_EPOCH=2, SOLVER__FIRST_STAGE__EPOCHS=1))


def test_another_number_of_classes_than_the_checkpoints(make_cfg: MakeCfg) -> None:
    cfg = make_cfg(SOLVER__MAX_EPOCH=1)
    prepared(cfg).train()
    path = Path(cfg.OUTPUT_DIR) / "model_final.pth"
    folder = Path(cfg.DATASETS.NAMES[0].partition(":")[2]) / "bounding_box_train"
    for image in sorted(folder.iterdir())[:6]:
        image.unlink()
    with pytest.raises(ConfigError, match=r"cannot be resumed[\s\S]*MODEL.HEADS.NUM_CLASSES: \d -> \d"):
        prepared(make_cfg(SOLVER__MAX_EPOCH=2), resume=True)
    # Weights alone begin another training, without the classifier.
    trainer = prepared(make_cfg("other", MODEL__WEIGHTS=str(path)))
    state = read_checkpoint(path)["model"]
    own = trainer.model.state_dict()
    assert own["heads.weight"].shape != state["heads.weight"].shape
    assert torch.equal(own["backbone.conv1.conv.weight"], state["backbone.conv1.conv.weight"])


def test_losses_of_the_stages() -> None:
    criterion = Criterion(losses=[CrossEntropyLoss(), TripletLoss()], scales=[2.0, 1.0], stages=({"cls"}, {"triplet"}))
    outputs = {"cls_outputs": torch.randn(4, 2), "features": torch.randn(4, 3)}
    pids = torch.tensor([0, 0, 1, 1])
    assert set(criterion(outputs, pids)) == {"loss_triplet"}
    criterion.choose_stage(first=True)
    losses = criterion(outputs, pids)
    assert set(losses) == {"loss_cls"}
    torch.testing.assert_close(losses["loss_cls"], 2 * CrossEntropyLoss()(outputs["cls_outputs"], pids))
    # A loss of the other stage may take what there is not.
    assert set(criterion({"cls_outputs": outputs["cls_outputs"]}, pids)) == {"loss_cls"}
    criterion.choose_stage(first=False)
    assert set(criterion(outputs, pids)) == {"loss_triplet"}


def test_a_loss_of_both_stages_is_built_once() -> None:
    names = ["MODEL.LOSSES.NAME", ("TripletLoss", "CrossEntropyLoss"), "SOLVER.FIRST_STAGE.EPOCHS", 1]
    criterion = build_criterion(load_config("", names))
    assert list(criterion.losses) == ["triplet", "cls"]
    assert criterion.active == {"triplet", "cls"}
    criterion.choose_stage(first=True)
    assert criterion.active == {"cls"}


def test_epochs_go_on_counting_in_the_second_sampler() -> None:
    samples = [Sample(f"{i}.jpg", i // 6, 0) for i in range(48)]
    values = ["DATALOADER.SAMPLER_TRAIN", "NaiveIdentitySampler", "SOLVER.IMS_PER_BATCH", 16, "SOLVER.MAX_EPOCH", 5]
    sampler = build_sampler(load_config("", [*values, "SOLVER.FIRST_STAGE.EPOCHS", 2]), samples)
    assert isinstance(sampler, StagedSampler) and sampler.group_size == 4
    pids, camids = [sample.pid for sample in samples], [0] * 48
    first = TrainingSampler(pids, camids, batch_size=16)
    then = NaiveIdentitySampler(pids, camids, batch_size=16)
    for epoch in range(5):
        np.testing.assert_array_equal(sampler.epoch(epoch), (first if epoch < 2 else then).epoch(epoch))
    assert not isinstance(build_sampler(load_config("", values), samples), StagedSampler)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("EPOCHS", 5, "leave an epoch"), ("LOSSES", [], "nothing to train"), ("BASE_LR", -1.0, "must be positive")],
)
def test_stages_that_cannot_be(key: str, value: object, said: str) -> None:
    values = {"MAX_EPOCH": 5, "FIRST_STAGE.EPOCHS": 1, f"FIRST_STAGE.{key}": value}
    with pytest.raises(ConfigError, match=said):
        load_config("", [part for name, v in values.items() for part in (f"SOLVER.{name}", v)])


def test_a_misspelt_sampler_or_loss_of_the_first_stage(make_cfg: MakeCfg) -> None:
    with pytest.raises(KeyError, match="TripletLoss"):
        DefaultTrainer(make_cfg(**{**STAGES, "SOLVER__FIRST_STAGE__LOSSES": ["TripletLos"]}))
    with pytest.raises(KeyError, match="TrainingSampler"):
        DefaultTrainer(make_cfg(**{**STAGES, "SOLVER__FIRST_STAGE__SAMPLER_TRAIN": "TrainingSample"}))
