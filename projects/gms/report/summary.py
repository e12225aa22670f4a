"""What the page says of all trials together, counted in one pass."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fastreid_ext.search.protocols import Trial

__all__ = ["Summary", "summarise"]

_FAILURES_SHOWN = 10


@dataclass
class Summary:
    """Counts, and the few trials that the page shows.

    Attributes:
        states: how many trials are in each state.
        stages: how many were rejected by each stage.
        reasons: how many were rejected for each reason.
        evaluated: in order.
        failures: the latest few.
        elapsed: seconds from the first trial to the end of the last; pauses count.
        evaluating: seconds of all evaluations together.
    """

    states: Counter[str] = field(default_factory=Counter)
    stages: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    evaluated: list[Trial] = field(default_factory=list)
    failures: deque[Trial] = field(default_factory=lambda: deque(maxlen=_FAILURES_SHOWN))
    elapsed: float = 0.0
    evaluating: float = 0.0

    def best(self, count: int) -> list[Trial]:
        """The evaluated trials with the highest scores, the earlier of equals first."""
        return sorted(self.evaluated, key=lambda trial: (-score(trial), trial.number))[:count]


def score(trial: Trial) -> float:
    """The score of an evaluated trial."""
    return -math.inf if trial.score is None else trial.score


def summarise(trials: Iterable[Trial]) -> Summary:
    """Counts the trials."""
    summary = Summary()
    first, last = math.inf, -math.inf
    for trial in trials:
        summary.states[trial.state] += 1
        if trial.created:
            first, last = min(first, trial.created), max(last, trial.created + trial.duration)
        if trial.state == "evaluated" and math.isfinite(score(trial)):
            summary.evaluated.append(trial)
        elif trial.state == "failed":
            summary.failures.append(trial)
        elif trial.state == "rejected":
            reason = trial.reason or trial.proposal.reason
            stage, colon, _ = reason.partition(":")
            summary.stages[stage if colon else "other"] += 1
            summary.reasons[reason] += 1
        if trial.state in ("evaluated", "failed"):
            summary.evaluating += trial.duration
    summary.elapsed = max(last - first, 0.0)
    summary.evaluated.sort(key=lambda trial: trial.number)
    return summary
