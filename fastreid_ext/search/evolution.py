"""Regularised evolution: the latest candidates are the population, the best of a random few become parents."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from fastreid_ext.search.errors import TrialStoreError
from fastreid_ext.search.protocols import Chooser, Examined, Json, Proposal, Screen, Space, Trial, Vector

__all__ = ["RegularizedEvolution"]

C = TypeVar("C")

# Seconds after which a question is answered with what there is, so that it can be recorded and Ctrl-C is heeded.
_PATIENCE = 1.0
# Random candidates are made so many at a time; what comes behind one to be evaluated is dropped.
_SAMPLES = 64


@dataclass(frozen=True)
class _Made(Generic[C]):
    """A new candidate and where it comes from."""

    candidate: C
    parents: tuple[int, ...] = ()
    mutation: str = ""


@dataclass(order=True, frozen=True)
class _Member(Generic[C]):
    """One of the population, which is ordered by age."""

    number: int
    candidate: C = field(compare=False)
    score: float = field(compare=False)


class RegularizedEvolution(Generic[C]):
    """Proposes founders, then children of the best of a few that are drawn from the population.

    The population is the `population_size` latest candidates with a score: evaluated ones, and those equivalent to an
    evaluated one, which have its score.

    Args:
        space: of the candidates.
        screen: what candidates must stand before they are evaluated.
        seed: of everything random.
        chooser: picks the promising ones of those that stand it; None evaluates all.
        initial: founders that come first.
        num_initial: founders in all; the others are random.
        population_size: how many of the latest candidates may become parents.
        tournament: share of the population that is drawn to find a parent.

    Source: Real et al. 2019, arXiv:1802.01548; AutoLoss-GMS, section G.1.
    """

    def __init__(
        self,
        space: Space[C],
        screen: Screen[C],
        *,
        seed: int = 0,
        chooser: Chooser | None = None,
        initial: Sequence[C] = (),
        num_initial: int = 20,
        population_size: int = 1000,
        tournament: float = 0.05,
    ) -> None:
        self.space, self.screen, self.chooser = space, screen, chooser
        self.initial, self.num_initial = list(initial), num_initial
        self.population_size, self.tournament = population_size, tournament
        self.rng = np.random.default_rng(seed)
        self._next_initial = self._founders = 0
        self._population: list[_Member[C]] = []
        self._evaluated: list[tuple[Vector, float]] = []
        self._told: list[int] = []
        self._waiting: set[int] = set()
        # By key: trials that equivalent candidates are duplicates of, and why those that were tested were rejected.
        self._twins: dict[str, Trial] = {}
        # Duplicates whose twin is being evaluated.
        self._unscored: dict[int, list[Trial]] = {}
        self._refused: dict[str, str] = {}
        self._pool: list[Json] = []

    def ask(self) -> list[Proposal]:
        """The next candidates, of which the last may be to evaluate or a duplicate; none when results must come first.

        Returns after about a second even if nothing stood the screening.
        """
        proposals: list[Proposal] = []
        until = time.monotonic() + _PATIENCE
        while not proposals or time.monotonic() < until:
            made = self._make()
            if not made:
                break
            examined = self.screen.examine([new.candidate for new in made])
            for new, found in zip(made, examined, strict=True):
                proposals += self._judge(new, found)
                # A duplicate joins the population when it is recorded: where the clock cuts must not matter.
                if proposals and proposals[-1].verdict != "rejected":
                    return proposals
        return proposals

    def recorded(self, trials: Sequence[Trial]) -> None:
        """Takes the numbers that the last proposals got."""
        for trial in trials:
            self._record(trial)

    def tell(self, trial: Trial) -> None:
        """A trial was evaluated and joins the population, or failed."""
        self._waiting.discard(trial.number)
        self._told.append(trial.number)
        key = trial.proposal.key
        if key:
            self._twins[key] = trial
        if trial.state == "evaluated" and trial.score is not None:
            candidate = self.space.from_json(trial.proposal.candidate)
            for member in (trial, *self._unscored.pop(trial.number, ())):
                self._join(member, trial.score)
            self._evaluated.append((self.screen.examine([candidate])[0].vector, trial.score))

    def state_dict(self) -> Json:
        """What a continued search needs besides the trials."""
        return {
            "rng": self.rng.bit_generator.state,
            "next_initial": self._next_initial,
            "founders": self._founders,
            "pool": self._pool,
            "told": self._told,
            "chooser": self.chooser.state_dict() if self.chooser is not None else {},
        }

    def load_state_dict(self, state: Json, trials: Sequence[Trial]) -> None:
        """Continues where `state_dict` was taken; evaluations since then are told anew."""
        self.rng.bit_generator.state = state["rng"]
        self._next_initial, self._founders, self._pool = state["next_initial"], state["founders"], list(state["pool"])
        by_number = {trial.number: trial for trial in trials}
        for trial in trials:
            self._record(trial)
        missing = [number for number in state["told"] if number not in by_number]
        if missing:
            raise TrialStoreError(f"the file of trials is damaged: trial {missing[0]} is missing")
        for number in state["told"]:
            self.tell(by_number[number])
        if self.chooser is not None:
            self.chooser.load_state_dict(state["chooser"])

    def _make(self) -> list[_Made[C]]:
        if self._founders < self.num_initial or not (self._population or self._waiting):
            if self._next_initial < len(self.initial):
                self._next_initial += 1
                return [_Made(self.initial[self._next_initial - 1], mutation="predefined")]
            return [_Made(new, mutation="random") for new in self.space.samples(self.rng, _SAMPLES)]
        if not self._population:
            return []
        first, second = self._select(), self._select()
        candidate, mutation = self.space.offspring(first.candidate, second.candidate, self.rng)
        return [_Made(candidate, (first.number, second.number), mutation)]

    def _select(self) -> _Member[C]:
        size = len(self._population)
        drawn = self.rng.choice(size, max(1, round(self.tournament * size)), replace=False)
        return max((self._population[int(place)] for place in drawn), key=lambda member: member.score)

    def _judge(self, made: _Made[C], examined: Examined) -> Iterator[Proposal]:
        """What becomes of a candidate; nothing while the chooser collects."""
        common: dict[str, Any] = {
            "candidate": self.space.to_json(made.candidate),
            "parents": made.parents,
            "mutation": made.mutation,
        }
        key = examined.key
        if examined.reason:
            yield Proposal(verdict="rejected", reason=examined.reason, **common)
        elif key in self._twins:
            yield Proposal(verdict="duplicate", duplicate_of=self._twins[key].number, key=key, **common)
        elif any(payload["key"] == key for payload in self._pool):
            yield Proposal(verdict="rejected", reason="chooser: its equal is among those to choose from", **common)
        elif reason := self._refused.get(key) or self.screen.test(made.candidate):
            self._refused[key] = reason
            yield Proposal(verdict="rejected", reason=reason, key=key, **common)
        elif made.parents and self.chooser is not None:
            yield from self._choose(
                self.chooser, {**common, "parents": list(made.parents), "key": key}, examined.vector
            )
        else:
            self._founders += not made.parents
            yield Proposal(verdict="evaluate", key=key, **common)

    def _choose(self, chooser: Chooser, payload: Json, vector: Vector) -> Iterator[Proposal]:
        self._pool.append(payload)
        chosen = chooser.offer(payload, vector, self._evaluated)
        if chosen is None:
            return
        reason = f"chooser: another of {len(self._pool)} is more promising"
        for other in self._pool:
            if other["key"] != chosen["key"]:
                # Without a key: it may come again.
                yield Proposal(verdict="rejected", reason=reason, **_arguments({**other, "key": ""}))
        self._pool = []
        yield Proposal(verdict="evaluate", **_arguments(chosen))

    def _record(self, trial: Trial) -> None:
        key = trial.proposal.key
        if trial.state == "waiting":
            self._waiting.add(trial.number)
        if key and trial.state == "rejected":
            self._refused[key] = trial.reason
        elif key and trial.state != "duplicate":
            self._twins[key] = trial
        twin = trial.proposal.duplicate_of
        if trial.state == "duplicate" and trial.score is not None:
            self._join(trial, trial.score)
        elif trial.state == "duplicate" and twin in self._waiting:
            self._unscored.setdefault(twin, []).append(trial)

    def _join(self, trial: Trial, score: float) -> None:
        insort(self._population, _Member(trial.number, self.space.from_json(trial.proposal.candidate), score))
        del self._population[: -self.population_size]


def _arguments(payload: Json) -> dict[str, Any]:
    return {**payload, "parents": tuple(payload["parents"])}
