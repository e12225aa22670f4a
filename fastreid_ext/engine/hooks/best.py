"""The best checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastreid_ext.engine.checkpoint import Checkpointer
from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.utils.logger import get_logger

__all__ = ["BestCheckpointer"]


class BestCheckpointer(Hook):
    """Saves `model_best.pth` whenever a metric rises above its best value, which resumed runs remember.

    Args:
        checkpointer: where to.
        state: makes the state to save.
        metric: name of a scalar in the trainer's storage.
        swapped: context in which the model holds the weights that were evaluated.
        main_process: whether this process writes.
    """

    def __init__(
        self,
        checkpointer: Checkpointer,
        state: Callable[[], dict[str, Any]],
        metric: str,
        *,
        swapped: Callable[[], AbstractContextManager[None]] = nullcontext,
        main_process: bool = True,
    ) -> None:
        self.checkpointer, self.state, self.metric = checkpointer, state, metric
        self.swapped, self.main_process = swapped, main_process
        self.best: float | None = None
        self.best_epoch = 0

    def after_epoch(self) -> None:
        done = self.trainer.epoch
        value = self.trainer.storage.latest(self.metric)
        evaluated = self.trainer.storage.latest(f"{self.metric}/epoch") == done
        if value is None or not evaluated or (self.best is not None and value <= self.best):
            return
        self.best, self.best_epoch = value, done
        if not self.main_process:
            return
        with self.swapped():
            state = self.state()
            try:
                self.checkpointer.save("model_best", state, resumable=False)
            except OSError as error:
                get_logger(__name__).error(f"model_best.pth not saved, the one before is intact: {error}")

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch, "metric": self.metric}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["metric"] == self.metric:
            self.best, self.best_epoch = state["best"], state["best_epoch"]
