"""COMPAT.SCHEDULE_AFTER_WARMUP gives the learning rates that FastReID's hook gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fastreid.engine.hooks import LRScheduler as OriginalHook
from fastreid.solver import build_lr_scheduler as build_original
from side_by_side import original_config

from fastreid_ext.config import load_config
from fastreid_ext.solver import build_lr_scheduler

SOLVERS: list[list[Any]] = [
    ["SCHED", "MultiStepLR", "STEPS", [3, 6], "WARMUP_ITERS", 10],
    ["SCHED", "MultiStepLR", "STEPS", [3, 6], "WARMUP_ITERS", 8, "WARMUP_METHOD", "exp"],
    ["SCHED", "MultiStepLR", "STEPS", [2, 4], "WARMUP_ITERS", 0],
    ["SCHED", "MultiStepLR", "STEPS", [2, 4], "WARMUP_ITERS", 6, "DELAY_EPOCHS", 3],
    ["SCHED", "CosineAnnealingLR", "WARMUP_ITERS", 10],
    ["SCHED", "CosineAnnealingLR", "WARMUP_ITERS", 4, "WARMUP_METHOD", "constant", "DELAY_EPOCHS", 5],
    ["SCHED", "CosineAnnealingLR", "WARMUP_ITERS", 40],
]
ITERATIONS, EPOCHS = 4, 9


def rates_of_fastreid(options: list[Any]) -> list[float]:
    cfg = original_config(options=options)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    hook = OriginalHook(optimizer, build_original(cfg, optimizer, ITERATIONS))
    storage = SimpleNamespace(put_scalar=lambda *args, **kwargs: None)
    hook.trainer = SimpleNamespace(
        grad_scaler=None, storage=storage, warmup_iters=cfg.SOLVER.WARMUP_ITERS, delay_epochs=cfg.SOLVER.DELAY_EPOCHS
    )
    rates = []
    for hook.trainer.iter in range(ITERATIONS * EPOCHS):
        hook.trainer.epoch = hook.trainer.iter // ITERATIONS
        hook.before_step()
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        hook.after_step()
        if (hook.trainer.iter + 1) % ITERATIONS == 0:
            hook.after_epoch()
    return rates


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda solver: "-".join(map(str, solver)))
def test_rates_are_fastreids(solver: list[Any]) -> None:
    given = [f"SOLVER.{item}" if index % 2 == 0 else item for index, item in enumerate([*solver, "MAX_EPOCH", EPOCHS])]
    expected = rates_of_fastreid(given)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cfg = load_config(options=[*given, "COMPAT.SCHEDULE_AFTER_WARMUP", True])
    schedule = build_lr_scheduler(cfg, optimizer, ITERATIONS)
    found = []
    for _ in expected:
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert found == pytest.approx(expected, rel=1e-6)
