"""Time and memory of work on drawn features, in a process that has done nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import Literal

import torch

from fastreid_ext.engine.benchmarks.evaluation_data import DrawnSet, SetSize, bare_product, draw
from fastreid_ext.engine.benchmarks.peak_memory import PeakMemory
from fastreid_ext.engine.benchmarks.timing import alternate, synchronize
from fastreid_ext.utils.logger import get_logger

__all__ = ["Measured", "Trial", "Work", "measure", "measure_alone"]

_PRODUCT = "bare product"
_FEW = SetSize("few", "few", 40, 160, 10, 4, 16)


@dataclass(frozen=True)
class Work:
    """Something to do with a drawn set.

    Attributes:
        name: for tables.
        run: does it, and returns the mAP if there is one; must be importable, and runs on 200 images, too.
        queries: how many of the queries it takes; None for all.
    """

    name: str
    run: Callable[[DrawnSet], float | None]
    queries: int | None = None


@dataclass(frozen=True)
class Trial:
    """What is measured together.

    Attributes:
        size: of the set.
        works: to do with it.
        classic: the classic way to do them.
        product: what to compare with: the product of queries and gallery, or of all images and all.
        rounds: timed ones, with product and works in turn, after one that is not; 0 for a single timed one.
    """

    size: SetSize
    works: tuple[Work, ...]
    classic: Work | None = None
    product: Literal["gallery", "all"] | None = None
    rounds: int = 0


@dataclass(frozen=True)
class Measured:
    """What a work took; times are medians.

    Attributes:
        size: of the set.
        work: which.
        seconds: that it took.
        product: seconds that the bare product took.
        classic: seconds that the classic way took, for all queries.
        memory_mb: what it added to the memory that was taken, at most, in 10^6 bytes; None where the system does not
            tell.
        mAP: that it found.
    """

    size: SetSize
    work: Work
    seconds: float
    product: float | None
    classic: float | None
    memory_mb: float | None
    mAP: float | None  # noqa: N815  # the field's spelling

    @property
    def over_product(self) -> float | None:
        """Its time over that of the bare product."""
        return None if self.product is None else _for_all(self.seconds, self.work, self.size) / self.product

    @property
    def speedup(self) -> float | None:
        """Time of the classic way over its time."""
        return None if self.classic is None else self.classic / _for_all(self.seconds, self.work, self.size)


def measure_alone(trial: Trial, device: str) -> list[Measured]:
    """`measure` in a process of its own, where nothing that was done before is in memory.

    Raises:
        ChildProcessError: the process was ended from outside, by lack of memory for example.
    """
    names = ", ".join(work.name for work in (*trial.works, *([trial.classic] if trial.classic else [])))
    get_logger(__name__).info(f"measuring {names} at {trial.size}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measure_with, torch.get_num_threads(), trial, device).result()
        except BrokenProcessPool as error:
            raise ChildProcessError(
                f"the process that measured {names} at {trial.size} was ended from outside; "
                f"if that was for lack of memory, leave this size out with --largest {trial.size.images - 1}."
            ) from error


def measure(trial: Trial, device: str) -> list[Measured]:
    """Time and memory of the works of a trial and, behind them, of the classic way."""
    works = [*trial.works, *([trial.classic] if trial.classic else [])]
    few = draw(_FEW, device)
    for work in works:
        # So that compilers and libraries have done what they do once.
        work.run(few)
    drawn = draw(trial.size, device)
    watched = {work.name: _Watched(partial(work.run, drawn), device) for work in works}
    seconds = _in_turn({**_product(trial, drawn), **watched}, trial.rounds, device)
    classic = _for_all(seconds[trial.classic.name], trial.classic, trial.size) if trial.classic else None
    return [
        Measured(trial.size, work, seconds[name], seconds.get(_PRODUCT), classic, found.memory_mb, found.result)
        for work, (name, found) in zip(works, watched.items(), strict=True)
    ]


class _Watched:
    """Calls a function; remembers what it returned first and how much memory it took then."""

    def __init__(self, run: Callable[[], float | None], device: str) -> None:
        self._run, self._device = run, device
        self._called = False
        self.memory_mb: float | None = None
        self.result: float | None = None

    def __call__(self) -> None:
        if self._called:
            self._run()
            return
        with PeakMemory(self._device) as peak:
            self.result = self._run()
        self._called, self.memory_mb = True, peak.megabytes


def _measure_with(threads: int, trial: Trial, device: str) -> list[Measured]:
    torch.set_num_threads(threads)
    return measure(trial, device)


def _product(trial: Trial, drawn: DrawnSet) -> dict[str, Callable[[], object]]:
    if trial.product is None:
        return {}
    a, b = (drawn.query, drawn.gallery) if trial.product == "gallery" else (drawn.features, drawn.features)
    return {_PRODUCT: partial(bare_product, a, b)}


def _in_turn(runs: Mapping[str, Callable[[], object]], rounds: int, device: str) -> dict[str, float]:
    if rounds:
        return alternate(runs, repeats=rounds, device=device)
    return {name: _seconds(run, device) for name, run in runs.items()}


def _seconds(run: Callable[[], object], device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started


def _for_all(seconds: float, work: Work, size: SetSize) -> float:
    """Seconds for all queries, at the pace of those that were taken."""
    return seconds * size.queries / min(size.queries, work.queries or size.queries)
