"""Regularised evolution on a space of numbers, against what the description says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from fastreid_ext.search.errors import TrialStoreError
from fastreid_ext.search.evolution import RegularizedEvolution
from fastreid_ext.search.listed import ListedCandidates
from fastreid_ext.search.protocols import Proposal, Trial


class Found(NamedTuple):
    reason: str
    key: str
    vector: Any


class Numbers:
    """Candidates are whole numbers; children lie near their parents."""

    def samples(self, rng: np.random.Generator, count: int) -> list[int]:
        return rng.integers(0, 100_000, count).tolist()

    def offspring(self, first: int, second: int, rng: np.random.Generator) -> tuple[int, str]:
        return (first + second) // 2 + int(rng.integers(-5000, 5001)), "near"

    def to_json(self, candidate: int) -> dict[str, Any]:
        return {"value": candidate}

    def from_json(self, value: dict[str, Any]) -> int:
        return int(value["value"])


class Screen:
    """Odd numbers are rejected at once, multiples of 10 after a test; neighbours of forty are equivalent."""

    def __init__(self) -> None:
        self.tested: list[int] = []

    def examine(self, candidates: Sequence[int]) -> list[Found]:
        return [Found("parity: odd" if c % 2 else "", "" if c % 2 else str(c // 40), np.array([c])) for c in candidates]

    def test(self, candidate: int) -> str:
        self.tested.append(candidate)
        return "toy: a multiple of 10" if candidate % 10 == 0 else ""


class Tens:
    """Lets the largest of ten through."""

    def __init__(self) -> None:
        self.pool: list[dict[str, Any]] = []

    def offer(self, payload: dict[str, Any], vector: Any, evaluated: Sequence[Any]) -> dict[str, Any] | None:
        self.pool.append(payload)
        if len(self.pool) < 10:
            return None
        chosen = max(self.pool, key=lambda each: each["candidate"]["value"])
        self.pool = []
        return chosen

    def state_dict(self) -> dict[str, Any]:
        return {"pool": self.pool}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.pool = list(state["pool"])


class Ledger:
    """What the file of trials does: numbers proposals, and gives duplicates the score of their twin."""

    def __init__(self, strategy: RegularizedEvolution[int]) -> None:
        self.strategy, self.trials = strategy, list[Trial]()

    def ask(self) -> list[Trial]:
        new = [self._trial(proposal) for proposal in self.strategy.ask()]
        self.strategy.recorded(new)
        return new

    def evaluate(self, trial: Trial, score: float | None) -> None:
        done = Trial(trial.number, "failed" if score is None else "evaluated", trial.proposal, score)
        self.trials[trial.number - 1] = done
        self.strategy.tell(done)

    def run(self, evaluations: int) -> list[Trial]:
        start = len(self.trials)
        for _ in range(evaluations):
            while not (new := self.ask()) or new[-1].state != "waiting":
                pass
            self.evaluate(new[-1], -abs(new[-1].proposal.candidate["value"] - 64_000))
        return self.trials[start:]

    def _trial(self, proposal: Proposal) -> Trial:
        state = "waiting" if proposal.verdict == "evaluate" else proposal.verdict
        twin = self.trials[proposal.duplicate_of - 1] if proposal.duplicate_of else None
        self.trials.append(
            Trial(len(self.trials) + 1, state, proposal, twin.score if twin else None, {}, proposal.reason)
        )
        return self.trials[-1]


def make(**more: Any) -> Ledger:
    return Ledger(RegularizedEvolution(Numbers(), Screen(), **{"num_initial": 5, "tournament": 0.5, **more}))


def described(trials: Sequence[Trial]) -> list[Any]:
    return [(t.number, t.state, t.proposal) for t in trials]


def test_founders_then_children_and_it_improves() -> None:
    trials = make().run(60)
    evaluated = [trial for trial in trials if trial.state == "evaluated"]
    assert len(evaluated) == 60
    assert [trial.proposal.mutation for trial in evaluated] == ["random"] * 5 + ["near"] * 55
    numbers = {trial.number for trial in trials}
    assert all(set(trial.proposal.parents) <= numbers and len(trial.proposal.parents) == 2 for trial in evaluated[5:])
    first, last = (np.mean([t.score for t in part if t.score is not None]) for part in (evaluated[:5], evaluated[-15:]))
    assert last > first + 5000


def test_predefined_founders_come_first_and_count() -> None:
    ledger = make(initial=[2, 3, 66, 4])
    trials = ledger.run(5)
    assert [t.proposal.candidate["value"] for t in trials[:3]] == [2, 3, 66]
    assert [t.state for t in trials[:4]] == ["evaluated", "rejected", "evaluated", "duplicate"]
    assert sum(t.proposal.mutation == "random" and t.state == "evaluated" for t in trials) == 3


def test_rejections_have_reasons_and_are_tested_once() -> None:
    ledger = make()
    trials = ledger.run(80)
    reasons = {t.reason for t in trials if t.state == "rejected"}
    assert reasons == {"parity: odd", "toy: a multiple of 10"}
    screen = ledger.strategy.screen
    assert isinstance(screen, Screen) and len(screen.tested) == len(set(screen.tested))


def test_duplicates_have_their_twins_score_and_are_not_evaluated() -> None:
    trials = make().run(80)
    duplicates = [t for t in trials if t.state == "duplicate"]
    assert duplicates
    for trial in duplicates:
        twin = trials[trial.proposal.duplicate_of - 1]
        assert twin.state == "evaluated" and trial.score == twin.score
        assert trial.proposal.candidate["value"] // 40 == twin.proposal.candidate["value"] // 40
    keys = [t.proposal.key for t in trials if t.state == "evaluated"]
    assert len(keys) == len(set(keys))


def test_parents_are_among_the_latest() -> None:
    ledger = make(population_size=6)
    for trial in ledger.run(60):
        scored = [
            t.number for t in ledger.trials[: trial.number - 1] if t.score is not None and t.number < trial.number
        ]
        if trial.proposal.parents:
            assert min(trial.proposal.parents) >= sorted(scored)[-6:][0]


def test_a_tournament_of_all_takes_the_best() -> None:
    ledger = make(tournament=1.0)
    ledger.run(5)
    best = max((t for t in ledger.trials if t.score is not None), key=lambda t: t.score or -math.inf)
    assert ledger.run(1)[-1].proposal.parents == (best.number, best.number)


def test_the_chooser_lets_one_of_ten_through_and_the_others_may_come_again() -> None:
    trials = make(chooser=Tens()).run(20)
    passed_over = [t for t in trials if t.reason.startswith("chooser: another of 10")]
    assert len(passed_over) == 9 * 15 and not any(t.proposal.key for t in passed_over)
    for trial in (t for t in trials if t.state == "evaluated" and t.proposal.parents):
        others = [t for t in passed_over if trial.number - 9 <= t.number < trial.number]
        assert all(t.proposal.candidate["value"] <= trial.proposal.candidate["value"] for t in others)


def test_nothing_to_do_until_a_founder_is_evaluated() -> None:
    ledger = make(num_initial=1)
    waiting = ledger.ask()[-1]
    assert waiting.state == "waiting" and ledger.ask() == []
    ledger.evaluate(waiting, 1.0)
    assert ledger.ask()


def test_when_all_founders_fail_others_are_drawn() -> None:
    ledger = make(num_initial=1)
    ledger.evaluate(ledger.ask()[-1], None)
    assert ledger.ask()[-1].proposal.mutation == "random"


@pytest.mark.parametrize("chooser", [False, True])
@pytest.mark.parametrize("before", [0, 3, 17, 30])
def test_a_restored_strategy_goes_on_as_before(before: int, chooser: bool) -> None:
    def fresh() -> Ledger:
        return make(chooser=Tens() if chooser else None)

    whole = described(fresh().run(40))
    ledger = fresh()
    ledger.run(before)
    state = json.loads(json.dumps(ledger.strategy.state_dict()))
    restored = fresh()
    restored.strategy.load_state_dict(state, ledger.trials)
    restored.trials = list(ledger.trials)
    restored.run(40 - before)
    assert described(restored.trials) == whole


def test_the_clock_does_not_change_the_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = described(make().run(40))
    monkeypatch.setattr("fastreid_ext.search.evolution._PATIENCE", 0.0)
    assert described(make().run(40)) == whole


def test_duplicates_of_a_running_trial_join_when_it_has_a_score() -> None:
    ledger = make(num_initial=1, initial=[402, 8])
    first = ledger.ask()[-1]
    twin = Trial(2, "duplicate", Proposal({"value": 404}, "duplicate", key="10", duplicate_of=first.number))
    ledger.trials.append(twin)
    ledger.strategy.recorded([twin])
    state = json.loads(json.dumps(ledger.strategy.state_dict()))
    restored = make(num_initial=1, initial=[402, 8]).strategy
    restored.load_state_dict(state, list(ledger.trials))
    ledger.evaluate(first, 7.0)
    restored.tell(ledger.trials[0])
    for strategy in (ledger.strategy, restored):
        assert [(m.number, m.candidate, m.score) for m in strategy._population] == [(1, 402, 7.0), (2, 404, 7.0)]


def test_a_missing_trial_is_told() -> None:
    ledger = make()
    ledger.run(6)
    with pytest.raises(TrialStoreError, match="is damaged: trial 1 is missing"):
        make().strategy.load_state_dict({**ledger.strategy.state_dict(), "told": [1]}, ledger.trials[1:])


def test_other_seeds_other_candidates() -> None:
    assert described(make(seed=1).run(5)) != described(make(seed=2).run(5))


def test_a_list_is_proposed_in_order_and_continued() -> None:
    strategy = ListedCandidates([({"value": n}, f"number {n}") for n in range(3)])
    assert [p.candidate["value"] for p in strategy.ask()] == [0]
    other = ListedCandidates([({"value": n}, f"number {n}") for n in range(3)])
    other.load_state_dict(strategy.state_dict(), [])
    assert [(p.candidate["value"], p.mutation) for _ in range(2) for p in other.ask()] == [
        (1, "number 1"),
        (2, "number 2"),
    ]
    assert other.ask() == []
