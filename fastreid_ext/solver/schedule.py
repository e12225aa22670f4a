"""The learning rate as a function of the iteration alone, so that a resumed run has the same."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fastreid_ext.config import CfgNode
from fastreid_ext.registry import Registry

__all__ = ["SCHEDULERS", "Schedule", "WarmupSchedule", "build_lr_scheduler", "cosine", "multi_step", "warmup_factor"]

Schedule = Callable[[float, float], float]
"""`schedule(epochs done, base rate) -> rate`."""

SCHEDULERS = Registry("learning-rate schedule")
"""Functions called as `schedule(cfg)` that return a `Schedule`."""


@SCHEDULERS.register("MultiStepLR")
def multi_step(cfg: CfgNode) -> Schedule:
    """Falls by SOLVER.GAMMA at each of SOLVER.STEPS."""
    steps, gamma = list(cfg.SOLVER.STEPS), cfg.SOLVER.GAMMA

    def schedule(epoch: float, base: float) -> float:
        return float(base * gamma ** bisect_right(steps, epoch))

    return schedule


@SCHEDULERS.register("CosineAnnealingLR", source="Loshchilov & Hutter, ICLR 2017")
def cosine(cfg: CfgNode) -> Schedule:
    """Constant for SOLVER.DELAY_EPOCHS, then half a cosine down to SOLVER.ETA_MIN_LR at SOLVER.MAX_EPOCH."""
    delay, last, lowest = cfg.SOLVER.DELAY_EPOCHS, cfg.SOLVER.MAX_EPOCH, cfg.SOLVER.ETA_MIN_LR

    def schedule(epoch: float, base: float) -> float:
        done = min(1.0, max(0.0, epoch - delay) / (last - delay))
        return float(lowest + (base - lowest) * (1 + math.cos(math.pi * done)) / 2)

    return schedule


def warmup_factor(iteration: int, *, iterations: int, start: float, method: str) -> float:
    """What the rate is multiplied by at an iteration of the warm-up.

    From `start` to 1 in `iterations` steps: straight ("linear"), as a power ("exp"), or all at once at the end
    ("constant").
    """
    if iteration >= iterations:
        return 1.0
    done = iteration / iterations
    if method == "constant":
        return start
    if method == "exp":
        return float(start ** (1 - done))
    return start + (1 - start) * done


class WarmupSchedule(LRScheduler):
    """A schedule of epochs with a warm-up of iterations in front; stepped once an iteration.

    Epochs count from the start of training, warm-up included: a rate that is to fall after epoch 40 falls then.
    (FastReID begins to count when its warm-up has ended: `first_epoch`.)

    Args:
        optimizer: its groups' `initial_lr` are the base rates.
        schedule: rate by epoch.
        iters_per_epoch: iterations an epoch.
        warmup: factor by iteration.
        by_iteration: give the schedule fractions of epochs instead of whole ones.
        first_epoch: the epoch from which the schedule's own are counted.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        schedule: Schedule,
        *,
        iters_per_epoch: int,
        warmup: Callable[[int], float] = lambda iteration: 1.0,
        by_iteration: bool = False,
        first_epoch: int = 0,
    ) -> None:
        self.schedule, self.warmup, self.first_epoch = schedule, warmup, first_epoch
        self.iters_per_epoch, self.by_iteration = iters_per_epoch, by_iteration
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        """The rate of every group at the current iteration."""
        iteration = self.last_epoch
        epoch = iteration / self.iters_per_epoch if self.by_iteration else iteration // self.iters_per_epoch
        counted = max(0, epoch - self.first_epoch)
        factor = self.warmup(iteration)
        return [factor * self.schedule(counted, float(base)) for base in self.base_lrs]

    def state_dict(self) -> dict[str, Any]:
        """The iteration: all else follows from the config."""
        return {"last_epoch": self.last_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes to a saved iteration."""
        self.last_epoch = state_dict["last_epoch"]
        for group, rate in zip(self.optimizer.param_groups, self.get_lr(), strict=True):
            group["lr"] = rate
        self._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def build_lr_scheduler(cfg: CfgNode, optimizer: Optimizer, iters_per_epoch: int) -> WarmupSchedule:
    """The schedule `SOLVER.SCHED` behind the warm-up; in the first stage times its share of the base rate.

    Raises:
        RegistryError: there is none of that name.
    """
    solver = cfg.SOLVER
    stage = solver.FIRST_STAGE
    share = stage.BASE_LR / solver.BASE_LR if stage.BASE_LR else 1.0

    def warmup(iteration: int) -> float:
        factor = warmup_factor(
            iteration, iterations=solver.WARMUP_ITERS, start=solver.WARMUP_FACTOR, method=solver.WARMUP_METHOD
        )
        return factor * (share if iteration < stage.EPOCHS * iters_per_epoch else 1.0)

    first_epoch, scheduled = _as_fastreid(cfg, iters_per_epoch) if cfg.COMPAT.SCHEDULE_AFTER_WARMUP else (0, cfg)
    return WarmupSchedule(
        optimizer,
        SCHEDULERS.get(solver.SCHED)(scheduled),
        iters_per_epoch=iters_per_epoch,
        warmup=warmup,
        by_iteration=solver.SCHED_INTERVAL == "iteration",
        first_epoch=first_epoch,
    )


def _as_fastreid(cfg: CfgNode, iters_per_epoch: int) -> tuple[int, CfgNode]:
    """The epoch from which FastReID counts, and a config whose schedule takes the epochs that are left.

    It steps at the end of each epoch behind both warm-up and delay, whatever the schedule.
    """
    warmup, delay = cfg.SOLVER.WARMUP_ITERS / iters_per_epoch, cfg.SOLVER.DELAY_EPOCHS
    scheduled = cfg.clone()
    scheduled.defrost()
    scheduled.SOLVER.MAX_EPOCH = max(1, cfg.SOLVER.MAX_EPOCH - max(math.ceil(warmup), delay))
    scheduled.SOLVER.DELAY_EPOCHS = 0
    return max(math.floor(warmup), delay), scheduled
