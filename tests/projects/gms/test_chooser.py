"""The chooser against a slow transcription of Algorithm 4, with predictors whose opinion is known."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.chooser import PromisingLossChooser
from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.predictor import FitStoppedError, Predictor, PredictorError

Vector = NDArray[np.float64]
Evaluated = list[tuple[Vector, float]]


class Stub:
    """Its opinion changes with what it was fitted to; counts its fits."""

    def __init__(self, broken: Sequence[int] = (), dumb: Sequence[int] = ()) -> None:
        self.fits: list[int] = []
        self.broken, self.dumb = broken, dumb
        self.offset = 0.0

    def fit(self, vectors: Any, performances: Any, *, stop: Callable[[], bool] | None = None) -> None:
        if stop is not None and stop():
            raise FitStoppedError("stopped")
        self.fits.append(len(performances))
        if len(performances) in self.broken:
            raise PredictorError("no luck")
        self.offset = float(np.sum(performances))

    def predict(self, vectors: Any) -> NDArray[np.float64]:
        if self.fits[-1] in self.dumb:
            raise PredictorError("a prediction is not finite")
        return np.asarray([opinion(vector, self.offset) for vector in vectors])


def opinion(vector: Vector, offset: float) -> float:
    return float(np.sin(7 * vector.sum() + offset))


def chooser_of(stub: Stub, **keywords: int) -> PromisingLossChooser[int]:
    sizes = {"start": 4, "interval": 3, "pool_size": 3, **keywords}
    return PromisingLossChooser(predictor=stub, encode=int, decode=int, **sizes)


def candidates(number: int = 60) -> Iterator[tuple[int, Vector]]:
    rng = np.random.default_rng(0)
    yield from ((i, rng.normal(size=5)) for i in range(number))


def performance(candidate: int) -> float:
    return candidate * 0.37 % 1


def run(chooser: PromisingLossChooser[int], evaluated: Evaluated, offers: Iterator[tuple[int, Vector]]) -> list[int]:
    chosen, vectors = [], dict(candidates())
    for candidate, vector in offers:
        passed = chooser.offer(candidate, vector, evaluated)
        if passed is not None:
            chosen.append(passed)
            evaluated.append((vectors[passed], performance(passed)))
    return chosen


def algorithm_4(start: int, interval: int, pool_size: int) -> list[int]:
    """Line by line, but that the predictor is updated once for each E, and collecting goes on where E = E_0."""
    eva: Evaluated = []
    population: list[tuple[int, Vector]] = []
    offset, updated, chosen = 0.0, set(), []
    for candidate, vector in candidates():
        output: tuple[int, Vector] | None = None
        if len(eva) < start:
            output = candidate, vector
        else:
            population.append((candidate, vector))
            if (len(eva) - start) % interval == 0 and len(eva) not in updated:
                updated.add(len(eva))
                offset = float(np.sum([p for _, p in eva]))
            if len(population) == pool_size:
                predictions = [opinion(v, offset) for _, v in population]
                output = population[predictions.index(max(predictions))]
                population = []
        if output is not None:
            chosen.append(output[0])
            eva.append((output[1], performance(output[0])))
    return chosen


@pytest.mark.parametrize(("start", "interval", "pool_size"), [(4, 3, 3), (5, 1, 2), (2, 4, 10), (0, 5, 4), (3, 2, 1)])
def test_equals_algorithm_4(start: int, interval: int, pool_size: int) -> None:
    chooser = chooser_of(Stub(), start=start, interval=interval, pool_size=pool_size)
    chosen = run(chooser, [], candidates())
    assert chosen == algorithm_4(start, interval, pool_size)
    assert len(chosen) == start + (60 - start) // pool_size


def test_before_the_start_everything_passes_and_afterwards_one_of_a_pool() -> None:
    stub = Stub()
    chosen = run(chooser_of(stub), [], candidates(19))
    assert chosen[:4] == [0, 1, 2, 3]
    assert [(candidate - 4) // 3 for candidate in chosen[4:]] == [0, 1, 2, 3, 4]
    assert stub.fits == [4, 7]


def test_the_predictor_learns_once_for_each_interval_also_when_evaluations_come_in_crowds() -> None:
    stub = Stub()
    chooser = chooser_of(stub)
    evaluated: Evaluated = [(np.zeros(5), 0.5)] * 3
    for number in (3, 5, 6, 6, 8, 8, 9, 15, 15, 16):
        chooser.offer(0, np.zeros(5), [*evaluated, *evaluated * 10][:number])
    assert stub.fits == [5, 8, 15, 16]


@pytest.mark.parametrize("cut", range(0, 40, 3))
def test_a_resumed_search_chooses_as_an_uninterrupted_one(cut: int) -> None:
    expected = run(chooser_of(Stub()), [], candidates())
    offers, evaluated, before, after = candidates(), Evaluated(), chooser_of(Stub()), chooser_of(Stub())
    chosen = run(before, evaluated, islice(offers, cut))
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    assert chosen + run(after, evaluated, offers) == expected


def test_a_resumed_chooser_fits_to_what_there_was_at_the_last_update() -> None:
    chooser, evaluated = chooser_of(Stub()), Evaluated()
    run(chooser, evaluated, candidates(10))
    assert len(evaluated) == 6
    stub = Stub()
    after = chooser_of(stub)
    after.load_state_dict(chooser.state_dict())
    after.offer(0, np.zeros(5), evaluated)
    after.offer(0, np.zeros(5), evaluated)
    assert stub.fits == [4]
    with pytest.raises(ValueError, match="learned from 4 evaluations, of which"):
        lost = chooser_of(Stub(), start=2)
        lost.load_state_dict({"pool": [], "updated_at": 4})
        lost.offer(0, np.zeros(5), evaluated[:3])


def test_where_the_fit_fails_the_search_goes_on_until_the_next_update(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    stub = Stub(broken=[4])
    with caplog.at_level(logging.WARNING, logger="fastreid_ext"):
        chosen = run(chooser_of(stub), [], candidates(13))
    assert chosen[:7] == [*range(7)] and 7 <= chosen[7] <= 9
    assert stub.fits == [4, 7]
    assert [record.getMessage() for record in caplog.records] == [
        "candidates pass unchosen until the predictor's next update: no luck"
    ]


def test_where_a_later_fit_fails_the_first_of_the_pool_passes() -> None:
    stub = Stub(broken=[5])
    chooser = chooser_of(stub, interval=1)
    evaluated: Evaluated = [(np.zeros(5), 0.5)] * 5
    assert chooser.offer(1, np.zeros(5), evaluated[:4]) is None
    assert chooser.offer(2, np.zeros(5), evaluated) == 1
    assert chooser.offer(3, np.zeros(5), evaluated) == 3


def test_predictions_that_fail_let_the_first_of_the_pool_pass() -> None:
    chooser = chooser_of(Stub(dumb=[4]))
    evaluated: Evaluated = [(np.zeros(5), 0.5)] * 4
    assert [chooser.offer(i, np.zeros(5), evaluated) for i in range(6)] == [None, None, 0, None, None, 3]


def test_a_stopped_fit_changes_nothing() -> None:
    stub = Stub()
    chooser, evaluated = chooser_of(stub), Evaluated()
    run(chooser, evaluated, candidates(4))
    before = chooser.state_dict()
    with pytest.raises(FitStoppedError):
        chooser.offer(4, np.zeros(5), evaluated, stop=lambda: True)
    assert chooser.state_dict() == before and stub.fits == []
    assert chooser.offer(4, np.zeros(5), evaluated, stop=lambda: False) is None
    assert stub.fits == [4]


def test_candidates_in_the_pool_survive_json() -> None:
    candidate = Candidate(Graph((), (), (0,)), Graph((0.35,), (), (0, 1)), 5.5)

    def make() -> PromisingLossChooser[Candidate]:
        return PromisingLossChooser(
            predictor=Predictor(), encode=Candidate.to_json, decode=Candidate.from_json, start=0, pool_size=1
        )

    state = {"pool": [{"candidate": candidate.to_json(), "vector": [0.1, 1e30]}], "updated_at": 0}
    chooser = make()
    chooser.load_state_dict(json.loads(json.dumps(state)))
    assert chooser.state_dict() == state
    # Nothing can be learned from no evaluation.
    assert chooser.offer(candidate, np.zeros(2), []) == candidate


@pytest.mark.parametrize("wrong", [{"start": -1}, {"interval": 0}, {"pool_size": 0}])
def test_sizes_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 0, 1 and 1"):
        chooser_of(Stub(), **wrong)
