"""How a search is getting on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from tqdm import tqdm

from fastreid_ext.search.protocols import Trial
from fastreid_ext.utils.logger import get_logger

__all__ = ["SearchProgress", "ShowProgress"]

_LINE_EVERY_SECONDS = 30.0


@dataclass(frozen=True)
class SearchProgress:
    """Figures of a search, over all its interruptions.

    Attributes:
        counts: of trials by state.
        running: evaluations going on.
        best: the trial of highest score.
        elapsed: seconds that the search has run.
        busy: share of the workers' time that went into evaluations.
        max_evaluations: when it ends; None when something else ends it.
    """

    counts: dict[str, int]
    running: int
    best: Trial | None
    elapsed: float
    busy: float
    max_evaluations: int | None

    @property
    def evaluations(self) -> int:
        """Evaluations that ended, well or not."""
        return self.counts.get("evaluated", 0) + self.counts.get("failed", 0)

    def describe(self) -> str:
        """The figures besides the number of evaluations, in a line."""
        best = f"best {self.best.score:.4g} (#{self.best.number})" if self.best else "best none"
        parts = [f"{name} {self.counts[name]}" for name in ("rejected", "duplicate", "failed") if self.counts.get(name)]
        return ", ".join([best, *parts, f"busy {self.busy:.0%}"])


class ShowProgress:
    """Shows the progress of a search: a bar on a terminal, else a log line now and then.

    Args:
        bar: whether there is a terminal.
    """

    def __init__(self, *, bar: bool) -> None:
        self._with_bar = bar
        self._bar: tqdm[Any] | None = None
        self._next_line = 0.0
        self._last: SearchProgress | None = None

    def __call__(self, progress: SearchProgress) -> None:
        """Shows the newest figures."""
        self._last = progress
        if self._with_bar:
            self._draw(progress)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY_SECONDS
            self._log(progress)

    def __enter__(self) -> ShowProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._last is not None:
            self._log(self._last)

    def _draw(self, progress: SearchProgress) -> None:
        if self._bar is None:
            start = progress.evaluations
            self._bar = tqdm(total=progress.max_evaluations, initial=start, unit="eval", dynamic_ncols=True)
        self._bar.set_postfix_str(progress.describe(), refresh=False)
        self._bar.update(progress.evaluations - self._bar.n)

    def _log(self, progress: SearchProgress) -> None:
        total = f" of {progress.max_evaluations}" if progress.max_evaluations is not None else ""
        log = get_logger(__name__)
        log.info(f"{progress.evaluations}{total} evaluations in {progress.elapsed:.0f} s, {progress.describe()}")
