"""Figures of the predictor's quality against loops, and on data whose answer is known."""

from __future__ import annotations

import sys
from functools import partial
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from fastreid_ext.projects.gms.predictor import Predictor
from fastreid_ext.projects.gms.predictor_quality import PredictorQuality, expected_best, predictor_quality

Vector = NDArray[np.float64]


def slow_best(predicted: Vector, actual: Vector, size: int) -> float:
    """Over all pools, where tied candidates are equally likely to be chosen."""
    found = []
    for pool in combinations(range(len(actual)), size):
        highest = max(predicted[i] for i in pool)
        best = [actual[i] for i in pool if predicted[i] == highest]
        found.append(sum(best) / len(best))
    return sum(found) / len(found)


@pytest.mark.parametrize("size", [1, 2, 4, 9])
def test_the_expected_best_equals_a_loop_over_pools(size: int) -> None:
    rng = np.random.default_rng(0)
    predicted, actual = rng.normal(size=9), rng.uniform(size=9)
    assert expected_best(predicted, actual, size) == pytest.approx(slow_best(predicted, actual, size))


def test_ties_share_their_chances() -> None:
    actual = np.array([0.1, 0.5, 0.9, 0.3])
    assert expected_best(np.zeros(4), actual, 3) == pytest.approx(actual.mean())
    predicted = np.array([1.0, 1.0, 0.0, 2.0])
    assert expected_best(predicted, actual, 4) == pytest.approx(0.3)
    assert expected_best(predicted, actual, 2) == pytest.approx(slow_best(predicted, actual, 2))


def test_pools_larger_than_the_fold_take_all() -> None:
    assert expected_best(np.array([1.0, 2.0]), np.array([0.9, 0.4]), 10) == pytest.approx(0.4)


def small_network() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 8, 7, 4, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 1)
    )


small_predictor = partial(Predictor, network=small_network, learning_rate=0.05)


def samples(number: int) -> tuple[Vector, Vector]:
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 17)
    margin = rng.uniform(0, 1, number)
    vectors = np.hstack([x - margin[:, None], np.tile(x, (number, 1)), rng.uniform(2, 8, (number, 1))])
    vectors[1, 0] = -1e30
    return vectors, 0.2 + 0.6 * margin


def rows_of(vectors: Vector, performances: Vector) -> dict[str, PredictorQuality]:
    rows = predictor_quality(vectors, performances, folds=3, pool_size=5, epochs=30, make_predictor=small_predictor)
    return {row.name: row for row in rows}


def test_what_can_be_learned_is_ranked_better_than_by_chance() -> None:
    vectors, performances = samples(60)
    rows = rows_of(vectors, performances)
    assert [*rows] == ["1-D ResNet-50", "ridge regression", "random choice", "the truth"]
    predictor, ridge, chance, truth = rows.values()
    assert predictor.kendall > 0.5 and predictor.spearman > predictor.kendall
    assert ridge.kendall > 0.8
    assert (chance.kendall, chance.spearman) == (0, 0)
    assert chance.chosen == pytest.approx(performances.mean())
    assert truth.kendall == pytest.approx(1) and truth.kendall_std == pytest.approx(0)
    assert chance.chosen + 0.05 < predictor.chosen <= truth.chosen


def test_nobody_is_credited_for_what_cannot_be_known() -> None:
    vectors, _ = samples(60)
    rows = rows_of(vectors, np.random.default_rng(1).uniform(size=60))
    assert abs(rows["1-D ResNet-50"].kendall) < 0.35 and abs(rows["ridge regression"].kendall) < 0.35


def test_equal_data_give_equal_rows() -> None:
    vectors, performances = samples(24)
    assert rows_of(vectors, performances) == rows_of(vectors, performances)


def test_too_few_losses_are_refused() -> None:
    vectors, performances = samples(14)
    with pytest.raises(ValueError, match="5 folds need at least 15 evaluated losses, not 14"):
        predictor_quality(vectors, performances)


def test_scikit_learn_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    vectors, performances = samples(24)
    with pytest.raises(ImportError, match=r"ridge regression needs the package 'sklearn': pip install .*viz"):
        rows_of(vectors, performances)
