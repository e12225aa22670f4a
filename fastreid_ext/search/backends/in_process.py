"""Evaluations in the process of the search itself."""

from __future__ import annotations

import torch

from fastreid_ext.search.backends.base import ContextBackend
from fastreid_ext.search.backends.worker import Worker, describe_error
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.protocols import EvaluatorFactory, Job, Outcome
from fastreid_ext.utils.rng import get_rng_state, set_rng_state

__all__ = ["InProcessBackend"]


class InProcessBackend(ContextBackend):
    """One worker without a process of its own, for debugging and for small searches.

    It cannot outlive a candidate that kills its process, and only the evaluator itself can keep a time limit.

    Args:
        factory: makes the evaluator, at the first job.
        cpus_per_trial: torch's threads during an evaluation; 0 leaves their number.
    """

    capacity = 1
    in_driver = True

    def __init__(self, factory: EvaluatorFactory, *, cpus_per_trial: int = 0) -> None:
        self._factory = factory
        self._threads = cpus_per_trial
        self._worker: Worker | None = None
        self._job: Job | None = None

    def submit(self, job: Job) -> None:
        """Takes a job, which `wait` evaluates."""
        self._job = job

    def wait(self, timeout: float | None = None) -> list[Outcome]:
        """Evaluates the job, however long it takes.

        Raises:
            SearchError: the evaluator cannot be made.
        """
        if self._job is None:
            return []
        job, self._job = self._job, None
        # The strategy lives in this process, too, and its random numbers are not the evaluation's.
        rng_state, threads = get_rng_state(), torch.get_num_threads()
        try:
            return [self._made()(job)]
        finally:
            set_rng_state(rng_state)
            torch.set_num_threads(threads)

    def _made(self) -> Worker:
        if self._worker is None:
            try:
                self._worker = Worker(self._factory, name="main")
            except Exception as error:
                raise SearchError(f"the evaluation cannot be prepared: {describe_error(error)}") from error
        if self._threads:
            torch.set_num_threads(self._threads)
        return self._worker
