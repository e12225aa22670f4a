"""The loop of a search."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace

from fastreid_ext.registry import close_matches
from fastreid_ext.search.backends.base import Backend
from fastreid_ext.search.errors import SearchError, TrialStoreError
from fastreid_ext.search.interrupts import StopRequest
from fastreid_ext.search.progress import SearchProgress
from fastreid_ext.search.protocols import Job, Outcome, Strategy, Trial
from fastreid_ext.search.replay import restore_strategy, strategy_meta
from fastreid_ext.search.trials import TrialStore
from fastreid_ext.utils.logger import get_logger

__all__ = ["Search"]

# How often the figures of a search are shown while nothing happens.
_SHOW_SECONDS = 1.0


class Search:
    """Asks a strategy for candidates, has them evaluated, and records both before the strategy hears of it.

    A search that was killed goes on from its file: `run` with the same file, and a strategy made the same way, repeats
    at most the evaluations that were going on. With one worker the candidates are those of a search never killed.

    Args:
        store: opened for writing. What is in it is continued.
        strategy: says what to try.
        backend: evaluates.
        metric: the score to maximise, by its name among those that the evaluator returns.
        seed: of every evaluation, so that all candidates are treated alike.
        max_evaluations: ends the search, together with those of earlier runs; None for no limit.
        max_hours: time after which no evaluation is begun, together with earlier runs; None for no limit.
        max_attempts: evaluations of a candidate whose workers are lost, before it counts as failed.
        on_change: called with the newest figures, at least about once a second while a worker has a process of its own.
        on_end: called with each trial that was evaluated or failed; without it, failures are logged.
    """

    def __init__(
        self,
        store: TrialStore,
        strategy: Strategy,
        backend: Backend,
        *,
        metric: str,
        seed: int = 0,
        max_evaluations: int | None = None,
        max_hours: float | None = None,
        max_attempts: int = 2,
        on_change: Callable[[SearchProgress], None] | None = None,
        on_end: Callable[[Trial], None] | None = None,
    ) -> None:
        self._store = store
        self._strategy = strategy
        self._backend = backend
        self._metric = metric
        self._seed = seed
        self._max_evaluations = max_evaluations
        self._max_seconds = None if max_hours is None else max_hours * 3600
        self._max_attempts = max_attempts
        self._on_change = on_change
        self._on_end = on_end or _log_failure
        self._stop = StopRequest()
        self._queue: deque[Trial] = deque()
        self._running: dict[int, float] = {}
        self._losses: Counter[int] = Counter()
        self._exhausted = False

    def run(self) -> SearchProgress:
        """Searches until a limit is reached, or the strategy has nothing more to try.

        Raises:
            SearchStopped: SIGINT or SIGTERM came.
            SearchError: the evaluator cannot be made, or does not return the metric.
            TrialStoreError: the file cannot be written.
        """
        self._resume()
        with self._stop.installed():
            try:
                self._show()
                while self._step():
                    self._show()
            except TrialStoreError:
                raise
            except (KeyboardInterrupt, SearchError):
                # Neither is the fault of a candidate.
                for number in self._running:
                    self._store.take_back(number)
                raise
            finally:
                self._store.set_meta(elapsed=self._elapsed())
        return self._progress()

    def _resume(self) -> None:
        self._start = time.monotonic()
        self._elapsed_before = float(self._store.meta("elapsed", 0.0))
        self._counts = Counter(self._store.counts())
        self._worker_seconds = self._store.worker_seconds()
        self._best = next(iter(self._store.best()), None)
        restore_strategy(self._strategy, self._store)
        for trial in self._store.waiting():
            if self._backend.in_driver and trial.attempts >= self._max_attempts:
                self._finish(Outcome(trial.number, error=f"the search died in each of {trial.attempts} evaluations"))
            else:
                self._queue.append(trial)

    def _step(self) -> bool:
        """Begins an evaluation or waits for one; False when there is nothing more to do."""
        self._stop.check()
        free = len(self._running) < self._backend.capacity
        if free and self._queue and self._in_time():
            self._submit(self._queue.popleft())
            return True
        if free and self._may_ask():
            self._ask()
            # Nobody waits for an outcome while there may be work to give out.
            self._collect(0.0)
            return True
        if not self._running:
            return False
        self._collect(_SHOW_SECONDS)
        return True

    def _may_ask(self) -> bool:
        unfinished = len(self._running) + len(self._queue)
        evaluations = self._counts["evaluated"] + self._counts["failed"] + unfinished
        return (
            not self._exhausted
            and (self._max_evaluations is None or evaluations < self._max_evaluations)
            and self._in_time()
        )

    def _in_time(self) -> bool:
        return self._max_seconds is None or self._elapsed() < self._max_seconds

    def _ask(self) -> None:
        # It may train a predictor for minutes; what it forgets when it is interrupted, the file has.
        with self._stop.interrupting():
            proposals = self._strategy.ask()
        if not proposals:
            # It may have more to say when it has heard of those that are running.
            self._exhausted = True
            return
        meta = strategy_meta(self._strategy, self._store)
        trials = self._store.add(proposals, seed=self._seed, strategy=meta, elapsed=self._elapsed())
        self._strategy.recorded(trials)
        self._counts.update(trial.state for trial in trials)
        self._queue.extend(trial for trial in trials if trial.state == "waiting")

    def _submit(self, trial: Trial) -> None:
        self._store.begin(trial.number)
        self._running[trial.number] = time.monotonic()
        self._backend.submit(Job(trial.number, trial.proposal.candidate, trial.seed))

    def _collect(self, timeout: float) -> None:
        if not self._running:
            return
        with self._stop.interrupting():
            outcomes = self._backend.wait(timeout)
        for outcome in outcomes:
            self._receive(outcome)
            del self._running[outcome.number]

    def _receive(self, outcome: Outcome) -> None:
        if outcome.lost:
            self._losses[outcome.number] += 1
            if self._losses[outcome.number] < self._max_attempts:
                get_logger(__name__).warning(f"trial {outcome.number} is tried again: {outcome.error}")
                self._queue.appendleft(self._store.trial(outcome.number))
                return
            outcome = replace(outcome, error=f"{outcome.error} ({self._losses[outcome.number]} attempts)")
        self._finish(outcome)

    def _finish(self, outcome: Outcome) -> None:
        score = None if outcome.error else self._score(outcome)
        trial = self._store.finish(outcome, score, elapsed=self._elapsed())
        self._counts["waiting"] -= 1
        self._counts[trial.state] += 1
        self._worker_seconds += trial.duration
        self._on_end(trial)
        if score is not None and (self._best is None or self._best.score is None or score > self._best.score):
            self._best = trial
        self._exhausted = False
        self._strategy.tell(trial)

    def _score(self, outcome: Outcome) -> float:
        if self._metric not in outcome.scores:
            hint = close_matches(self._metric, outcome.scores)
            raise SearchError(
                f"the evaluation returns no '{self._metric}'{f', did you mean {hint[0]}' if hint else ''}: "
                f"it returns {', '.join(outcome.scores) or 'nothing'}"
            )
        return outcome.scores[self._metric]

    def _elapsed(self) -> float:
        return self._elapsed_before + time.monotonic() - self._start

    def _show(self) -> None:
        if self._on_change is not None:
            self._on_change(self._progress())

    def _progress(self) -> SearchProgress:
        now, elapsed = time.monotonic(), self._elapsed()
        busy = self._worker_seconds + sum(now - start for start in self._running.values())
        share = min(1.0, busy / (self._backend.capacity * elapsed)) if elapsed else 0.0
        counts = {state: count for state, count in self._counts.items() if count}
        return SearchProgress(counts, len(self._running), self._best, elapsed, share, self._max_evaluations)


def _log_failure(trial: Trial) -> None:
    if trial.state == "failed":
        get_logger(__name__).warning(f"trial {trial.number} failed: {trial.reason}")
