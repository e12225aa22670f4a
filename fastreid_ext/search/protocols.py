"""What the parts of a search give each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Chooser",
    "Evaluator",
    "EvaluatorFactory",
    "Examined",
    "Job",
    "Json",
    "Outcome",
    "Proposal",
    "Screen",
    "Space",
    "Strategy",
    "Trial",
    "Vector",
]

C = TypeVar("C")
C_contra = TypeVar("C_contra", contravariant=True)
Json = dict[str, Any]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Proposal:
    """A candidate that a strategy made.

    Attributes:
        candidate: as JSON.
        verdict: "evaluate", "rejected", or "duplicate" of an earlier trial.
        parents: numbers of the trials that it came from.
        mutation: how it came from them.
        reason: of a rejection, beginning with its stage and a colon: "values: t is not finite at x = 0".
        key: what equivalent candidates share; "" where nobody computed it.
        duplicate_of: number of the trial that it equals.
    """

    candidate: Json
    verdict: str
    parents: tuple[int, ...] = ()
    mutation: str = ""
    reason: str = ""
    key: str = ""
    duplicate_of: int | None = None


@dataclass(frozen=True)
class Trial:
    """A proposal with its number and what became of it: a row of the file.

    Attributes:
        number: from 1, in the order in which candidates were proposed.
        state: "waiting" (to be evaluated, or just being so), "evaluated", "failed", "rejected" or "duplicate".
        proposal: the candidate.
        score: what is maximised; of a duplicate, that of its twin.
        scores: all that the evaluator returned.
        reason: of a rejection or failure.
        seed: of the evaluation.
        attempts: evaluations begun.
        worker: which one evaluated it.
        created: seconds since the epoch.
        duration: seconds of the evaluation, by the worker's clock.
    """

    number: int
    state: str
    proposal: Proposal
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    seed: int = 0
    attempts: int = 0
    worker: str = ""
    created: float = 0.0
    duration: float = 0.0


@dataclass(frozen=True)
class Job:
    """What a worker is given: a trial's number, its candidate as JSON, and a seed."""

    number: int
    candidate: Json
    seed: int


@dataclass(frozen=True)
class Outcome:
    """What a worker returns.

    Attributes:
        number: of the trial.
        scores: figures by name, empty when it failed.
        error: why it failed: one line for people.
        lost: the worker died or vanished, so that the candidate may not be to blame: it is tried again.
        duration: seconds that the evaluator worked.
        worker: its name.
    """

    number: int
    scores: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    lost: bool = False
    duration: float = 0.0
    worker: str = ""


class Strategy(Protocol):
    """Decides what is tried next."""

    def ask(self) -> Sequence[Proposal]:
        """The next candidates, in order; at most the last one is to be evaluated.

        Returns after about a second even when none was found that deserves an evaluation. Returns nothing when it has
        nothing to try until it is told more.
        """

    def recorded(self, trials: Sequence[Trial]) -> None:
        """The trials, with their numbers, that the last `ask` became."""

    def tell(self, trial: Trial) -> None:
        """A trial was evaluated, or failed."""

    def state_dict(self) -> Json:
        """All that a continued search needs besides the trials, as JSON; taken between `ask` and `recorded`."""

    def load_state_dict(self, state: Json, trials: Sequence[Trial]) -> None:
        """Continues where `state_dict` was taken; `trials` are all trials recorded until then."""


class Evaluator(Protocol):
    """Scores candidates."""

    def __call__(self, job: Job) -> Mapping[str, float]:
        """Figures by name, one of which the search maximises. Raises what it wants when a candidate is bad."""


class EvaluatorFactory(Protocol):
    """Made by the driver, sent to the workers (so it must pickle), and called once in each."""

    def __call__(self) -> Evaluator:
        """An evaluator, which keeps what all trials share, such as decoded images."""


class Examined(Protocol):
    """What a cheap examination finds.

    Attributes:
        reason: why the candidate is rejected, beginning with the stage and a colon; "" when it is not.
        key: what equivalent candidates share.
        vector: what a predictor sees of it.
    """

    @property
    def reason(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def vector(self) -> Vector: ...


class Space(Protocol[C]):
    """The candidates that there are."""

    def samples(self, rng: np.random.Generator, count: int) -> Sequence[C]:
        """Random candidates."""

    def offspring(self, first: C, second: C, rng: np.random.Generator) -> tuple[C, str]:
        """A candidate from two parents, and how it came from them."""

    def to_json(self, candidate: C) -> Json:
        """The candidate for the file."""

    def from_json(self, value: Json) -> C:
        """The candidate from the file."""


class Screen(Protocol[C_contra]):
    """What is asked of a candidate before it is trained with."""

    def examine(self, candidates: Sequence[C_contra]) -> Sequence[Examined]:
        """The cheap questions, of many candidates at once."""

    def test(self, candidate: C_contra) -> str:
        """The dear ones, asked of candidates that are new: why it is rejected, or ""."""


class Chooser(Protocol):
    """Collects candidates and lets the most promising one through."""

    def offer(self, payload: Json, vector: Vector, evaluated: Sequence[tuple[Vector, float]]) -> Json | None:
        """One of the payloads offered since the last choice, or None to go on collecting."""

    def state_dict(self) -> Json:
        """What a continued search needs, as JSON."""

    def load_state_dict(self, state: Json) -> None:
        """Takes back what `state_dict` returned."""
