"""Where the figures of a running training are kept until a writer takes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from statistics import median
from types import TracebackType
from typing import ClassVar

__all__ = ["EventStorage", "get_event_storage"]


class EventStorage:
    """Scalars by name, with a short history each.

    Only trainer, hooks and evaluator write to it. It is current inside its `with` block, where `get_event_storage`
    finds it.

    Args:
        iteration: the first iteration.
        window: how many values of each scalar the smoothed value spans.

    Attributes:
        iteration, epoch: of now, from 0.
        version: counts the recorded values, so that a writer can ask for those that are new to it.
    """

    _stack: ClassVar[list[EventStorage]] = []

    def __init__(self, iteration: int = 0, window: int = 20) -> None:
        self.iteration = iteration
        self.epoch = 0
        self.version = 0
        self._window = window
        self._histories: dict[str, deque[float]] = {}
        self._latest: dict[str, tuple[float, int]] = {}
        self._smoothed: set[str] = set()

    def put_scalar(self, name: str, value: float, *, smooth: bool = True) -> None:
        """Records a value of this iteration; writers show the median of the last ones unless `smooth` is off."""
        value = float(value)
        self._histories.setdefault(name, deque(maxlen=self._window)).append(value)
        self.version += 1
        self._latest[name] = (value, self.version)
        (self._smoothed.add if smooth else self._smoothed.discard)(name)

    def put_scalars(self, values: Mapping[str, float], *, smooth: bool = True) -> None:
        """Records several values."""
        for name, value in values.items():
            self.put_scalar(name, value, smooth=smooth)

    def names(self) -> list[str]:
        """Names of all scalars, in the order of their first recording."""
        return list(self._latest)

    def latest(self, name: str) -> float | None:
        """The newest value, `None` where there is none."""
        return self._latest[name][0] if name in self._latest else None

    def smoothed(self, since: int = 0) -> dict[str, float]:
        """Scalars recorded after `version` was `since`, the noisy ones as medians."""
        return {
            name: median(self._histories[name]) if name in self._smoothed else value
            for name, (value, version) in self._latest.items()
            if version > since
        }

    def forget_histories(self) -> None:
        """Smooths what comes from now on by itself, because the training has changed."""
        for history in self._histories.values():
            history.clear()
        self._smoothed.clear()

    def __enter__(self) -> EventStorage:
        self._stack.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.pop()


def get_event_storage() -> EventStorage:
    """The storage of the training that is running.

    Raises:
        RuntimeError: none is running.
    """
    if not EventStorage._stack:
        raise RuntimeError("no training is running: use this inside `with EventStorage(...)`")
    return EventStorage._stack[-1]
