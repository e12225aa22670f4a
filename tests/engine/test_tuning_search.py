"""Which settings a search tries, and which it calls the best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fastreid_ext.engine.tuning.features import Choices
from fastreid_ext.engine.tuning.report import table
from fastreid_ext.engine.tuning.search import Limits, SettingSearch
from fastreid_ext.engine.tuning.setting import STRATEGIES, Setting

PART = ("mixed_pool", "beta_norm", "leaky_relu")
FINE = tuple(step / 100 for step in range(1, 101))


def search(
    score: Any = lambda setting: 0.0,
    *,
    strategies: tuple[str, ...] = STRATEGIES,
    limits: Limits | None = None,
    base: Setting | None = None,
    slope_alone: bool = True,
    seed: int = 0,
) -> SettingSearch:
    def evaluate(setting: Setting) -> tuple[float, Mapping[str, Any]]:
        return score(setting), {"mAP": score(setting)}

    choices = Choices(strategies, FINE, FINE, slope_alone)
    return SettingSearch(base or Setting(), choices, limits or Limits(20.0, 100), evaluate, seed=seed)


def tried(search: SettingSearch, settings: int) -> list[Setting]:
    return [found.setting for found in search.run(settings)]


def test_nothing_and_each_strategy_alone_come_first() -> None:
    settings = tried(search(), 40)
    assert len(settings) == len(set(settings)) == 40
    assert settings[0] == Setting()
    assert {setting.strategies for setting in settings[1:5]} == {(name,) for name in STRATEGIES if name != "rerank"}
    assert any(setting.strategies == ("rerank",) for setting in settings)


def test_reranking_is_tried_last_and_least() -> None:
    settings = tried(search(), 100)
    reranked = [setting.rerank is not None for setting in settings]
    assert reranked == [False] * 75 + [True] * 25


def test_of_equals_the_simplest_is_best() -> None:
    done = search()
    tried(done, 60)
    assert done.best.setting == Setting()
    assert done.sums() == [Setting()]
    done = search(lambda setting: float(setting.flip))
    tried(done, 60)
    assert done.best.setting == Setting(flip=True)


def test_the_best_is_found_and_its_strategies_are_added_up() -> None:
    def score(setting: Setting) -> float:
        near = 0.5 - abs((setting.alpha or 0.0) - 0.4) + 0.1 * setting.flip - abs((setting.slope or 0.0) - 0.2)
        return near + (0.2 * setting.rerank.lambda_value if setting.rerank else 0.0)

    done = search(score)
    settings = tried(done, 200)
    best = done.best.setting
    assert best.alpha == pytest.approx(0.4, abs=0.1)
    assert best.slope == pytest.approx(0.2, abs=0.1)
    assert best.flip
    assert best.rerank is not None
    assert best.rerank.lambda_value > 0.7
    sums = done.sums()
    assert [len(setting.strategies) for setting in sums] == list(range(len(best.strategies) + 1))
    assert sums[1].strategies == ("mixed_pool",)
    assert sums[-1] == best
    assert set(sums) <= set(done.found)
    assert len(settings) == len(done.found) <= 200 + 2 * len(STRATEGIES)
    rows = table(done, "mAP").splitlines()
    assert [row.split(":")[0].strip("| ") for row in rows[3:]].count("added up") == len(sums) - 1


def test_a_part_of_the_best_may_be_better() -> None:
    def score(setting: Setting) -> float:
        return 3.0 if setting.strategies == PART else 2.0 if len(setting.strategies) > 3 else 0.0

    done = search(score)
    tried(done, 60)
    assert done.best.setting.strategies == PART
    assert set(done.sums()) <= set(done.found)


def test_limits_hold() -> None:
    done = search(limits=Limits(20.0, 4, euclidean=True))
    settings = tried(done, 200)
    assert all(s.rerank.k1 <= 4 and s.rerank.k2 <= 4 for s in settings if s.rerank)
    betas = [setting.beta for setting in settings if setting.beta is not None]
    assert betas[0] == 0
    assert all(0.01 <= 20 * beta <= 10.01 for beta in betas[1:] if beta)
    assert not any(setting.beta == 0 for setting in tried(search(), 100))


def test_a_slope_that_needs_a_mixed_pooling_gets_one() -> None:
    settings = tried(search(slope_alone=False), 100)
    assert any(setting.slope for setting in settings)
    assert all(setting.alpha is not None for setting in settings if setting.slope)


def test_few_choices_end_the_search() -> None:
    assert tried(search(strategies=("flip",)), 50) == [Setting(), Setting(flip=True)]
    base = Setting(alpha=0.5)
    assert tried(search(strategies=("flip",), base=base), 50) == [base, Setting(alpha=0.5, flip=True)]
    only = tried(search(strategies=("rerank",)), 20)
    assert only[0] == Setting()
    assert all(setting.strategies == ("rerank",) for setting in only[1:])


def test_the_seed_decides() -> None:
    runs = [tried(search(seed=seed), 60) for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_an_interrupt_leaves_what_was_tried() -> None:
    done = search(lambda setting: 1.0 if setting.strategies else 0.0)
    for number, _ in enumerate(done.run(50)):
        if number == 3:
            break
    assert len(done.found) == 4
    assert done.best.score == 1
