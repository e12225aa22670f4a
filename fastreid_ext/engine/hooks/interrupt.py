"""Ctrl-C and SIGTERM: finish the step, save, stop."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.utils.dist import all_gather_objects, barrier, get_world_size

__all__ = ["InterruptHandler", "TrainingInterrupted"]

# Processes must stop at the same step; asking the others at every step would cost more than it is worth.
_ASK_OTHERS_EVERY = 10


class TrainingInterrupted(KeyboardInterrupt):
    """Training was asked to stop, and its state is saved."""


class InterruptHandler(Hook):
    """On the first SIGINT or SIGTERM, saves after the current step and stops; a second SIGINT stops at once.

    Register it last, so that the other hooks have done their part of the step.

    Args:
        save: called with a checkpoint's name.
    """

    def __init__(self, save: Callable[[str], None]) -> None:
        self.save = save
        self._asked = False
        self._previous: dict[int, Any] = {}

    def before_train(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._handle)

    def after_step(self) -> None:
        # The last step of an epoch belongs together with the epoch's evaluation and checkpoint.
        if self.trainer.iteration % self.trainer.iters_per_epoch:
            self._stop_if_asked()

    def after_epoch(self) -> None:
        # Behind the last epoch only the final checkpoint is left to write: that is what saving means there.
        if self.trainer.iteration < self.trainer.max_iterations:
            self._stop_if_asked(ask=True)

    def close(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._asked = True
        # A handler may interrupt a print in the middle, so it must not print the same way.
        os.write(2, b"\nstopping after this step; press Ctrl-C again to stop without saving\n")

    def _stop_if_asked(self, *, ask: bool = False) -> None:
        stop = self._asked
        if get_world_size() > 1:
            if not ask and self.trainer.iteration % _ASK_OTHERS_EVERY:
                return
            stop = any(all_gather_objects(self._asked))
        if stop:
            self.save("model_interrupted")
            # Whoever starts several processes ends all when one has ended: not before the file is written.
            barrier()
            raise TrainingInterrupted
