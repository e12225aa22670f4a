"""Learning rates by iteration, against lists computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.registry import RegistryError
from fastreid_ext.solver import build_lr_scheduler
from fastreid_ext.solver.schedule import WarmupSchedule


def config(**solver: Any) -> CfgNode:
    cfg = get_cfg()
    for key, value in ({"WARMUP_ITERS": 0} | solver).items():
        cfg.SOLVER[key] = value
    return cfg


def build(cfg: CfgNode, iters_per_epoch: int, rates: tuple[float, ...] = (1.0,)) -> WarmupSchedule:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return build_lr_scheduler(cfg, torch.optim.SGD(groups, lr=1.0), iters_per_epoch)


def rates_of(scheduler: WarmupSchedule, iterations: int) -> list[float]:
    rates = []
    for _ in range(iterations):
        rates.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return rates


def test_steps_are_epochs_from_the_start() -> None:
    cfg = config(SCHED="MultiStepLR", STEPS=[1, 3], GAMMA=0.1, MAX_EPOCH=4)
    assert rates_of(build(cfg, 2), 8) == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_warm_up_does_not_delay_the_steps() -> None:
    cfg = config(SCHED="MultiStepLR", STEPS=[2], GAMMA=0.1, WARMUP_ITERS=4, WARMUP_FACTOR=0.2, WARMUP_METHOD="linear")
    assert rates_of(build(cfg, 3), 8) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 0.1, 0.1])


def test_cosine_by_epoch() -> None:
    cfg = config(SCHED="CosineAnnealingLR", MAX_EPOCH=5, DELAY_EPOCHS=1, ETA_MIN_LR=0.2)
    half = [0.2 + 0.8 * (1 + math.cos(math.pi * share)) / 2 for share in (0, 0.25, 0.5, 0.75)]
    expected = [1, 1, *(rate for rate in half for _ in range(2))]
    assert rates_of(build(cfg, 2), 10) == pytest.approx(expected)
    assert half[2] == pytest.approx(0.6)


def test_cosine_by_iteration_falls_within_an_epoch_and_ends_at_the_lowest() -> None:
    cfg = config(SCHED="CosineAnnealingLR", MAX_EPOCH=2, ETA_MIN_LR=0.0, SCHED_INTERVAL="iteration")
    rates = rates_of(build(cfg, 2), 6)
    root = math.sqrt(0.5)
    assert rates == pytest.approx([1, (1 + root) / 2, 0.5, (1 - root) / 2, 0, 0], abs=1e-12)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("linear", [0.01, 0.505, 1.0, 1.0]),
        ("constant", [0.01, 0.01, 1.0, 1.0]),
        ("exp", [0.01, 0.1, 1.0, 1.0]),
    ],
)
def test_warm_up_methods(method: str, expected: list[float]) -> None:
    cfg = config(STEPS=[], WARMUP_ITERS=2, WARMUP_FACTOR=0.01, WARMUP_METHOD=method)
    assert rates_of(build(cfg, 100), 4) == pytest.approx(expected)


def test_groups_keep_their_ratio_down_to_the_lowest_rate() -> None:
    cfg = config(SCHED="MultiStepLR", STEPS=[1], GAMMA=0.5, WARMUP_ITERS=2, WARMUP_FACTOR=0.1)
    scheduler = build(cfg, 3, (1.0, 10.0))
    for _ in range(5):
        first, second = scheduler.get_last_lr()
        assert second == pytest.approx(10 * first)
        scheduler.optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("sched", ["MultiStepLR", "CosineAnnealingLR"])
@pytest.mark.parametrize("stop", [0, 1, 3, 7])
def test_resumed_rates_are_equal_to_the_bit(sched: str, stop: int) -> None:
    cfg = config(SCHED=sched, STEPS=[1, 3], MAX_EPOCH=5, WARMUP_ITERS=3, SCHED_INTERVAL="iteration")
    whole = rates_of(build(cfg, 2), 10)
    stopped = build(cfg, 2)
    rates_of(stopped, stop)
    state = stopped.state_dict()
    assert state == {"last_epoch": stop}
    resumed = build(cfg, 2)
    resumed.load_state_dict(state)
    assert resumed.get_last_lr() == [whole[stop]]
    assert rates_of(resumed, 10 - stop) == whole[stop:]


def test_resuming_after_the_optimizer_does_not_scale_twice() -> None:
    cfg = config(STEPS=[1], WARMUP_ITERS=0)
    stopped = build(cfg, 2)
    rates_of(stopped, 3)
    resumed = build(cfg, 2)
    resumed.optimizer.load_state_dict(stopped.optimizer.state_dict())
    resumed.load_state_dict(stopped.state_dict())
    assert rates_of(resumed, 1) == pytest.approx([0.1])


def test_unknown_schedule_names_close_matches() -> None:
    with pytest.raises(RegistryError, match="Did you mean MultiStepLR"):
        build(config(SCHED="MultistepLR"), 1)


def test_fastreid_counts_from_the_end_of_its_warm_up() -> None:
    cfg = config(SCHED="MultiStepLR", STEPS=[1], GAMMA=0.1, WARMUP_ITERS=5, WARMUP_FACTOR=0.5, WARMUP_METHOD="constant")
    cfg.COMPAT.SCHEDULE_AFTER_WARMUP = True
    # The warm-up ends in the third epoch, whose end is the first step.
    assert rates_of(build(cfg, 2), 10) == pytest.approx([0.5, 0.5, 0.5, 0.5, 0.5, 1, 0.1, 0.1, 0.1, 0.1])


def test_fastreid_delays_steps_too() -> None:
    cfg = config(SCHED="MultiStepLR", STEPS=[1], GAMMA=0.1, DELAY_EPOCHS=2)
    cfg.COMPAT.SCHEDULE_AFTER_WARMUP = True
    assert rates_of(build(cfg, 1), 5) == pytest.approx([1, 1, 1, 0.1, 0.1])


def test_fastreids_cosine_reaches_its_lowest_behind_the_warm_up() -> None:
    cfg = config(SCHED="CosineAnnealingLR", MAX_EPOCH=4, WARMUP_ITERS=3, WARMUP_FACTOR=1.0, ETA_MIN_LR=0.0)
    cfg.COMPAT.SCHEDULE_AFTER_WARMUP = True
    # Two epochs of two iterations belong to the warm-up, so that the cosine has two; it begins one epoch early.
    assert rates_of(build(cfg, 2), 8) == pytest.approx([1, 1, 1, 1, 0.5, 0.5, 0, 0])


def test_fastreids_warm_up_may_be_longer_than_the_training() -> None:
    cfg = config(SCHED="CosineAnnealingLR", MAX_EPOCH=2, WARMUP_ITERS=100, WARMUP_FACTOR=0.1)
    cfg.COMPAT.SCHEDULE_AFTER_WARMUP = True
    assert rates_of(build(cfg, 2), 4) == pytest.approx([0.1, 0.109, 0.118, 0.127])
