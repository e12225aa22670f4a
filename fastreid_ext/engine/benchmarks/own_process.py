"""Time and memory of work on drawn features, in a process that has done nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
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

__all__ = ["Measured", "Trial", "Work", "measure"]

_PRODUCT = "bare product"


@dataclass(frozen=True)
class Work:
    """Something to do with a drawn set.

    Attributes:
        name: for tables.
        run: does it, and returns the mAP if there is one; must be importable, and runs on small sets, too.
        queries: how many of the queries it takes; None for all.
    """

    name: str
    run: Callable[[DrawnSet], float | None]
    queries: int | None = None


@dataclass(frozen=True)
class Trial:
    """What a process of its own measures.

    Attributes:
        size: of the set.
        works: in this order; the memory of the first is the surest.
        product: of queries with the gallery or of all images with all, to compare with.
        rounds: timed ones, with product and works in turn, after one that is not; 0 for a single timed one.
    """

    size: SetSize
    works: tuple[Work, ...]
    product: Literal["gallery", "all"] | None = None
    rounds: int = 0


@dataclass(frozen=True)
class Measured:
    """What one work took.

    Attributes:
        size: of the set.
        work: which.
        seconds: it took, median of the rounds.
        product: seconds that the bare product took, median of the rounds.
        peak_mb: memory it added to what was there, at most, in 10^6 bytes; None where the system does not tell.
        mAP: that it found.
    """

    size: SetSize
    work: Work
    seconds: float
    product: float | None
    peak_mb: float | None
    mAP: float | None  # noqa: N815  # the field's spelling

    @property
    def all_queries(self) -> float:
        """Seconds for all queries, at the pace of those that were taken."""
        return self.seconds * self.size.queries / min(self.size.queries, self.work.queries or self.size.queries)

    @property
    def over_product(self) -> float | None:
        """Its time over that of the bare product."""
        return None if self.product is None else self.all_queries / self.product


def measure(trial: Trial, device: str) -> list[Measured]:
    """Time and memory of each work of a trial.

    Raises:
        ChildProcessError: the process was ended from outside, probably for lack of memory.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, trial, device, torch.get_num_threads()).result()
        except BrokenProcessPool as error:
            what = ", ".join(work.name for work in trial.works)
            raise ChildProcessError(
                f"the process that measured {what} at {trial.size} was ended, probably for lack of memory: "
                f"leave this size out with --largest {trial.size.images - 1}."
            ) from error


class _Watched:
    """Calls `run`; remembers what it returned first and what memory it took then."""

    def __init__(self, run: Callable[[], float | None], device: str) -> None:
        self._run, self._device = run, device
        self.peak: PeakMemory | None = None
        self.result: float | None = None

    def __call__(self) -> None:
        if self.peak is not None:
            self._run()
            return
        with PeakMemory(self._device) as self.peak:
            self.result = self._run()


def _measure(trial: Trial, device: str, threads: int) -> list[Measured]:
    torch.set_num_threads(threads)
    _compile(trial.works, device)
    drawn = draw(trial.size, device)
    first = drawn.features if trial.product == "all" else drawn.query
    second = drawn.features if trial.product == "all" else drawn.gallery
    watched = {work.name: _Watched(partial(work.run, drawn), device) for work in trial.works}
    product = {_PRODUCT: partial(bare_product, first, second)} if trial.product else {}
    runs: dict[str, Callable[[], object]] = {**product, **watched}
    if trial.rounds:
        seconds = alternate(runs, repeats=trial.rounds, device=device)
    else:
        seconds = {name: _seconds(run, device) for name, run in runs.items()}
    return [
        Measured(
            trial.size,
            work,
            seconds[work.name],
            seconds.get(_PRODUCT),
            peak.megabytes if (peak := watched[work.name].peak) else None,
            watched[work.name].result,
        )
        for work in trial.works
    ]


def _compile(works: tuple[Work, ...], device: str) -> None:
    """Does all of it once on a few images, so that compilers and libraries have done what they do once."""
    few = draw(SetSize("few", "few", 40, 160, 10, 4, 16), device)
    for work in works:
        work.run(few)


def _seconds(run: Callable[[], object], device: str) -> float:
    synchronize(device)
    started = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - started
