"""When a schedule of FastReID acts, in epochs of the whole training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fastreid_ext.compat.config_report.old_config import OldConfig

__all__ = ["Timeline", "timeline"]


@dataclass(frozen=True)
class Timeline:
    """The epochs of a training on data of known size.

    FastReID moves its schedule at the end of each epoch that is behind both warm-up and delay, so that all epochs of
    the schedule come `shift` later.

    Attributes:
        steps_per_epoch: iterations.
        warmup: epochs of warm-up, broken off nowhere.
        shift: epochs by which FastReID's schedule is late.
        late: how much of that nobody asked for: a cosine waits for DELAY_EPOCHS here, too.
    """

    steps_per_epoch: int
    warmup: float
    shift: int
    late: int


def timeline(old: OldConfig) -> Timeline | None:
    """The epochs of a config; None where the size of its data is not known."""
    solver, steps = old.cfg.SOLVER, old.steps_per_epoch
    if not steps:
        return None
    warmup = solver.WARMUP_ITERS / steps
    shift = 0 if old.counts_from_start else max(math.floor(warmup), solver.DELAY_EPOCHS)
    asked = solver.DELAY_EPOCHS if solver.SCHED == "CosineAnnealingLR" else 0
    return Timeline(steps, warmup, shift, max(0, shift - asked))
