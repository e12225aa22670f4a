"""Settings of a sweep that are drawn at random."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_runs import options

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.cli.sweep import main
from fastreid_ext.engine.sweep.distributions import draw_choices, find_distribution, refuse_distributions
from fastreid_ext.engine.sweep.plan import parse_options, plan_choices
from fastreid_ext.engine.sweep.results import SettingResult
from fastreid_ext.engine.sweep.sweep import Sweep
from fastreid_ext.engine.sweep.table import ResultTable

AXES = {
    "SOLVER.WEIGHT_DECAY": ["log(1e-16,0.1)"],
    "MODEL.LOSSES.TRI.MARGIN": ["uniform(0.1,0.5)"],
    "DATALOADER.NUM_INSTANCE": ["integer(2,4)"],
    "SOLVER.OPT": ["SGD", "Adam"],
}


def column(key: str, text: str, number: int = 400) -> list[str]:
    # Beside another axis, so that the same value may come again.
    return [choice[key] for choice in draw_choices({key: [text], "x": ["uniform(0,1)"]}, number)]


def test_log_uniform_values_are_spread_over_the_exponents() -> None:
    drawn = [float(value) for value in column("a", "log(1e-16,1e-1)")]
    exponents = np.log10(drawn)
    assert -16 <= exponents.min() < -15.5 and -1.5 < exponents.max() <= -1
    # Each of 15 decades has 27 of 400, give or take a standard deviation of 5.
    assert all(7 <= count <= 47 for count in np.histogram(exponents, 15, (-16, -1))[0])


def test_uniform_values_are_spread_over_the_interval() -> None:
    drawn = [float(value) for value in column("a", "uniform(1, 80)")]
    assert min(drawn) >= 1 and max(drawn) <= 80
    assert all(20 <= count <= 60 for count in np.histogram(drawn, 10, (1, 80))[0])


def test_whole_numbers_include_both_ends() -> None:
    assert set(Counter(column("a", "integer(0,4)"))) == {"0", "1", "2", "3", "4"}
    assert set(column("a", "integer(-12345,-12344)")) == {"-12345", "-12344"}


def test_values_have_three_digits_and_stay_in_the_interval() -> None:
    assert all(float(value) == float(f"{float(value):.3g}") for value in column("a", "log(1e-5,0.1)", 50))
    drawn = {float(value) for value in column("a", "uniform(0.12345,0.12377)")}
    assert drawn == {0.12345, 0.12377}


def test_more_settings_begin_with_the_fewer() -> None:
    few, many = draw_choices(AXES, 5), draw_choices(AXES, 20)
    assert many[:5] == few
    assert draw_choices(AXES, 5, seed=1) != few
    assert draw_choices(AXES, 5, seed=1) == draw_choices(AXES, 5, seed=1)
    assert len({tuple(choice.values()) for choice in many}) == 20


def test_all_settings_are_found_before_there_are_no_more() -> None:
    axes = {"a": ["integer(1,3)"], "b": ["x", "y"]}
    assert len({tuple(choice.values()) for choice in draw_choices(axes, 6)}) == 6
    with pytest.raises(ConfigError, match="--random 7: there are 6 different settings only"):
        draw_choices(axes, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("log(0,1)", "above 0"),
        ("log(1,0.1)", "smaller end first"),
        ("uniform(1,1)", "smaller end first"),
        ("uniform(0,inf)", "finite"),
        ("uniform(nan,1)", "finite"),
        ("uniform(1)", "two numbers"),
        ("uniform(1,2,3)", "two numbers"),
        ("integer(0.5,2)", "two whole numbers"),
        ("log(a,b)", "two numbers"),
        ("log(1,2),3", "give it alone"),
        ("integer(0,100000000000000000000)", "smaller than 2"),
        ("lgo(0.1,1)", "no such distribution"),
    ],
)
def test_intervals_that_are_none(text: str, message: str) -> None:
    axes, _ = parse_options([f"SOLVER.BASE_LR={text}"])
    with pytest.raises(ConfigError, match=rf"SOLVER\.BASE_LR=.*{message}"):
        draw_choices(axes, 2)


def test_distributions_are_for_random_settings_only() -> None:
    assert find_distribution("a", ["uniformly", "(log)"]) is None
    refuse_distributions({"a": ["1", "2"]})
    with pytest.raises(ConfigError, match=r"SOLVER\.WEIGHT_DECAY=log\(1e-16,0\.1\).*--random N"):
        refuse_distributions(AXES)
    with pytest.raises(ConfigError, match="nothing to draw"):
        draw_choices({}, 3)


def test_every_config_has_the_same_settings(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.yml", "b.yml")]
    for number, file in enumerate(files):
        file.write_text(f"SOLVER:\n  MAX_EPOCH: {number + 1}\n")
    choices = draw_choices(AXES, 3)
    settings = plan_choices([str(file) for file in files], choices)
    assert [dict(s.labels) for s in settings] == [{"config": name, **c} for name in ("a", "b") for c in choices]
    for setting in settings:
        assert float(setting.labels["SOLVER.WEIGHT_DECAY"]) == setting.cfg.SOLVER.WEIGHT_DECAY
        assert math.isclose(setting.cfg.MODEL.LOSSES.TRI.MARGIN, float(setting.labels["MODEL.LOSSES.TRI.MARGIN"]))


def test_the_table_says_by_what_it_is_sorted() -> None:
    results = [SettingResult({"a": str(n)}, {0: {"Held/mAP": 9.0 - n}}, {}, (0,)) for n in range(3)]
    assert "rows best first by Held/mAP." in ResultTable(results, ["mAP"], order="Held/mAP").text()
    assert "best first" not in ResultTable(results, ["mAP"]).text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--random", "0", "SOLVER.BASE_LR=log(1,2)"], "at least 1"),
        (["--random", "2", "--report"], "not for --report"),
        (["--random-seed", "2", "SOLVER.BASE_LR=1,2"], "--random N"),
        (["--random", "2", "--random-seed", "-1", "SOLVER.BASE_LR=log(1,2)"], "must not be negative"),
        (["SOLVER.BASE_LR=log(1,2)"], "--random N"),
        (["--random", "2"], "nothing to draw"),
    ],
)
def test_mistakes_on_the_command_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
    assert message in capsys.readouterr().err


def test_a_random_search_grows_and_is_shown_best_first(
    market_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = {"SOLVER.MAX_EPOCH": 1, "TEST.BEST_METRIC": "mINP"}
    keys = [*map(str, options(market_folder(), tmp_path / "out", **fixed)), "SOLVER.BASE_LR=log(1e-5,0.1)"]
    main(["--backend", "in-process", "--random", "2", "--random-seed", "4", *keys])
    main(["--backend", "in-process", "--random", "3", "--random-seed", "4", "--resume", *keys])
    sweep = Sweep.read(tmp_path / "out")
    assert sweep.best_first and sweep.num_seeds == 1
    (name,) = {f"{setting.cfg.DATASETS.TESTS[0]}/mINP" for setting in sweep.settings}
    scores = [result.figures[0][name] for result in sweep.results()]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    capsys.readouterr()
    main(["--report", "OUTPUT_DIR", str(tmp_path / "out")])
    assert f"rows best first by {name}" in " ".join(capsys.readouterr().out.split())
    values = [result.labels["SOLVER.BASE_LR"] for result in sweep.results()]
    rows = [line.split()[0] for line in (tmp_path / "out" / "sweep.txt").read_text().splitlines() if line[:1].isdigit()]
    assert rows == values
