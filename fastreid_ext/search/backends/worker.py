"""One worker: makes its evaluator once, and turns every job into an outcome."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch

from fastreid_ext.search.protocols import EvaluatorFactory, Job, Outcome
from fastreid_ext.utils.rng import seed_everything

__all__ = ["Worker", "describe_error"]


def describe_error(error: BaseException) -> str:
    """One line for people: the type and the first line of the message; lack of memory is said to be that."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    return f"out of memory ({text})" if _is_out_of_memory(error) else text


class Worker:
    """Evaluates jobs, one after the other.

    Args:
        factory: makes the evaluator.
        name: what outcomes call this worker.
        threads: of torch; 0 leaves torch's own number.
    """

    def __init__(self, factory: EvaluatorFactory, *, name: str, threads: int = 0) -> None:
        if threads:
            torch.set_num_threads(threads)
        self.name = name
        self.broken = False
        self._evaluator = factory()

    def __call__(self, job: Job) -> Outcome:
        """The outcome of a job: an exception or a figure that is no number becomes its error.

        Afterwards `broken` says whether this process can do no more jobs, as after an error on a GPU.
        """
        start = time.perf_counter()
        scores: dict[str, float] = {}
        error = ""
        try:
            seed_everything(job.seed)
            scores = _finite(self._evaluator(job))
        except (Exception, SystemExit) as raised:
            error = describe_error(raised)
            self.broken = isinstance(raised, RuntimeError) and "CUDA error" in str(raised)
        duration = time.perf_counter() - start
        return Outcome(job.number, scores, error, duration=duration, worker=self.name)


def _finite(scores: Mapping[str, float]) -> dict[str, float]:
    values = {name: float(value) for name, value in scores.items()}
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise ArithmeticError(", ".join(bad))
    return values


def _is_out_of_memory(error: BaseException) -> bool:
    # On a CPU torch has no type of its own for it.
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )
