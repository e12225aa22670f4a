"""What backends share whose workers may die: places for workers, time limits, replacements."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastreid_ext.search.backends.base import ContextBackend
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.protocols import Job, Outcome

__all__ = ["Slot", "WorkerPool"]

H = TypeVar("H")

_STARTS = 3
_LOOK_SECONDS = 1.0


@dataclass
class Slot(Generic[H]):
    """A place for a worker, and the worker that has it now.

    Attributes:
        index: of the place, from 0.
        handle: how the backend reaches the worker.
        ready: the worker has its evaluator.
        job: what it is to do, or does.
        started: when it began that, by the monotonic clock; None while it prepares itself.
    """

    index: int
    handle: H
    ready: bool = False
    job: Job | None = None
    started: float | None = None

    def free(self) -> None:
        """The job is over."""
        self.job = self.started = None


class WorkerPool(ContextBackend, Generic[H]):
    """Workers that take a job each; one that dies, or takes too long, is replaced.

    A subclass says how a worker is started, given a job and ended, and passes on what workers say.

    Args:
        kind: begins the workers' names.
        workers: how many.
        time_limit: seconds after which an evaluation is ended and counts as failed; 0 waits for ever.
    """

    in_driver = False

    def __init__(self, kind: str, *, workers: int, time_limit: float) -> None:
        self.capacity = workers
        self._kind = kind
        self._limit = time_limit
        self._failed_starts = 0
        self._slots: list[Slot[H]] = []

    def submit(self, job: Job) -> None:
        """Gives a job to a worker that has none."""
        slot = min((slot for slot in self._slots if slot.job is None), key=lambda slot: not slot.ready)
        slot.job = job
        if slot.ready:
            self._begin(slot)

    def wait(self, timeout: float | None = None) -> list[Outcome]:
        """The jobs that have ended.

        Raises:
            SearchError: the evaluator cannot be made.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while any(slot.job for slot in self._slots):
            now = time.monotonic()
            moments = [self._deadline(slot) for slot in self._slots] + [end, now + _LOOK_SECONDS]
            until = min(moment for moment in moments if moment is not None)
            outcomes = self._collect(max(0.0, until - now)) + self._end_late()
            if outcomes or (end is not None and time.monotonic() >= end):
                return outcomes
        return []

    def _name(self, index: int) -> str:
        return f"{self._kind} {index + 1}"

    def _start(self, index: int) -> H:
        """Starts a worker, which prepares itself."""
        raise NotImplementedError

    def _send(self, handle: H, job: Job) -> None:
        """Gives a prepared worker its job."""
        raise NotImplementedError

    def _kill(self, handle: H) -> None:
        """Ends a worker, whatever it does."""
        raise NotImplementedError

    def _collect(self, seconds: float) -> list[Outcome]:
        """What the workers have said, waiting for the first word no longer than that."""
        raise NotImplementedError

    def _fill(self) -> None:
        """Starts all workers."""
        for index in range(self.capacity):
            self._slots.append(Slot(index, self._start(index)))

    def _begin(self, slot: Slot[H]) -> None:
        assert slot.job is not None
        slot.started = time.monotonic()
        self._send(slot.handle, slot.job)

    def _prepared(self, slot: Slot[H], problem: str) -> None:
        """A worker has its evaluator, or says why not."""
        if problem:
            raise SearchError(f"the evaluation cannot be prepared: {problem}")
        slot.ready = True
        self._failed_starts = 0
        if slot.job is not None:
            self._begin(slot)

    def _died(self, slot: Slot[H], how: str) -> list[Outcome]:
        """A worker is gone; what it was doing is lost."""
        if not slot.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS:
                raise SearchError(f"workers die while they prepare the evaluation: {how}")
        return self._replace(slot, f"the worker was lost: {how}", lost=True)

    def _replace(self, slot: Slot[H], error: str = "", *, lost: bool = False) -> list[Outcome]:
        """Puts a new worker in the place of one; a job that the old one had begun is over."""
        self._kill(slot.handle)
        new = Slot(slot.index, self._start(slot.index))
        self._slots[slot.index] = new
        if slot.job is None:
            return []
        if slot.started is None:
            new.job = slot.job
            return []
        duration = time.monotonic() - slot.started
        name = self._name(slot.index)
        return [Outcome(slot.job.number, error=error, lost=lost, duration=duration, worker=name)]

    def _end_late(self) -> list[Outcome]:
        now = time.monotonic()
        outcomes = []
        for slot in list(self._slots):
            deadline = self._deadline(slot)
            if deadline is not None and now >= deadline:
                outcomes += self._replace(slot, f"time limit of {self._limit:g} s")
        return outcomes

    def _deadline(self, slot: Slot[H]) -> float | None:
        return slot.started + self._limit if self._limit and slot.started is not None else None
