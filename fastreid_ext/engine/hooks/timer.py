"""How long a training took and where the time went."""

from __future__ import annotations

import time

from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.utils.logger import get_logger

__all__ = ["IterationTimer"]


class IterationTimer(Hook):
    """Records images a second, and logs at the end how much of the time steps took.

    Args:
        batch_size: images of a step over all processes.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self._started = 0.0
        self._stepping = 0.0
        self._step_started = 0.0

    def before_train(self) -> None:
        self._started = time.perf_counter()

    def before_step(self) -> None:
        self._step_started = time.perf_counter()

    def after_step(self) -> None:
        seconds = time.perf_counter() - self._step_started
        self._stepping += seconds
        self.trainer.storage.put_scalar("images_per_second", self.batch_size / seconds)

    def after_train(self) -> None:
        total = time.perf_counter() - self._started
        steps = self.trainer.max_iterations - self.trainer.start_iteration
        if steps:
            get_logger(__name__).info(
                f"{steps} steps in {self._stepping:.0f} s ({self._stepping / steps:.3f} s each), "
                f"{total - self._stepping:.0f} s for evaluation, checkpoints and the rest"
            )
