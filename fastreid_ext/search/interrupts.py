"""Ctrl-C and SIGTERM during a search."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from fastreid_ext.search.errors import SearchStopped

__all__ = ["StopRequest"]


class StopRequest:
    """Remembers that a SIGINT or SIGTERM came; a second SIGINT raises KeyboardInterrupt at once.

    Attributes:
        asked: whether one came.
    """

    def __init__(self) -> None:
        self.asked = False
        self._interruptible = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Listens to the signals inside the block; only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.signal(number, self._handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """A signal ends the block at once, by SearchStopped; elsewhere it waits for the next `check`."""
        self._interruptible = True
        try:
            self.check()
            yield
        except KeyboardInterrupt:
            # Libraries in between, as Ray, raise one of their own in place of ours.
            self.check()
            raise
        finally:
            self._interruptible = False

    def check(self) -> None:
        """Raises SearchStopped when a signal has come."""
        if self.asked:
            raise SearchStopped

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.asked:
            # A handler may interrupt a print in the middle, so it must not print the same way.
            os.write(2, b"\nstopping; what is being evaluated will be evaluated again\n")
        self.asked = True
        if self._interruptible:
            raise SearchStopped
