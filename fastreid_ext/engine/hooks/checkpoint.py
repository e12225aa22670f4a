"""Checkpoints every few epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastreid_ext.engine.checkpoint import Checkpointer
from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.utils.logger import get_logger

__all__ = ["PeriodicCheckpointer"]


class PeriodicCheckpointer(Hook):
    """Saves `model_<epoch>.pth` every `period` epochs and `model_final.pth` at the end.

    A disk that is full in the middle of a long training is reported and tried again at the next period; at the end it
    is an error.

    Args:
        checkpointer: where to.
        state: makes the state to save; called on every rank, with the number of iterations done.
        period: epochs.
        main_process: whether this process writes.
    """

    def __init__(
        self, checkpointer: Checkpointer, state: Callable[[], dict[str, Any]], period: int, *, main_process: bool = True
    ) -> None:
        self.checkpointer, self.state, self.period, self.main_process = checkpointer, state, period, main_process

    def after_epoch(self) -> None:
        done = self.trainer.epoch
        if self.period and done % self.period == 0 and done < self.trainer.max_epochs:
            try:
                self.save(f"model_{done:04d}")
            except OSError as error:
                get_logger(__name__).error(f"checkpoint of epoch {done} not saved, the one before is intact: {error}")

    def after_train(self) -> None:
        self.save("model_final")

    def save(self, name: str) -> None:
        """Writes the state of now.

        Raises:
            OSError: it could not be written; the checkpoint of before is intact.
        """
        state = self.state()
        if self.main_process:
            self.checkpointer.save(name, state)
