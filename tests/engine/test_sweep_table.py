"""Tables of sweeps, against means and spreads worked out by hand."""

from __future__ import annotations

import csv
import io
import math
import statistics

import pytest

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.sweep.labels import short_names
from fastreid_ext.engine.sweep.results import SettingResult
from fastreid_ext.engine.sweep.table import ResultTable, runs_csv

LOSS, COUNT = "MODEL.LOSSES.NAME", "DATALOADER.NUM_INSTANCE"


def setting(loss: str, count: int, *values: float, seeds: int = 0, **failures: str) -> SettingResult:
    """A setting whose runs 0, 1, ... have this mAP; failures are named s<seed>."""
    return SettingResult(
        {"config": "adasp/synth", LOSS: loss, COUNT: str(count)},
        {seed: {"SynthReID/mAP": value, "SynthReID/Rank-1": value + 10} for seed, value in enumerate(values)},
        {int(name[1:]): reason for name, reason in failures.items()},
        tuple(range(seeds or len(values))),
    )


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split(" | ")]


def markdown_rows(table: ResultTable) -> list[list[str]]:
    return [cells(line) for line in table.markdown().splitlines() if line.startswith("|") and "---" not in line]


FOUR = [
    setting("AdaSP", 4, 60.0, 62.0, 64.0),
    setting("AdaSP", 8, 59.0, 59.3, 59.6),
    setting("MS", 4, 61.0, 61.0, 61.0),
    setting("MS", 8, 40.0, 50.0, 60.0),
]


def test_mean_and_sample_standard_deviation() -> None:
    assert markdown_rows(ResultTable(FOUR, ["mAP"])) == [
        ["NAME", "NUM_INSTANCE", "mAP"],
        ["AdaSP", "4", "**62.0 ± 2.0**"],
        ["AdaSP", "8", "59.3 ± 0.3"],
        ["MS", "4", "61.0 ± 0.0"],
        ["MS", "8", "50.0 ± 10.0"],
    ]


def test_a_metric_a_column_by_default() -> None:
    rows = markdown_rows(ResultTable(FOUR))
    assert rows[0] == ["NAME", "NUM_INSTANCE", "mAP", "Rank-1"]
    assert rows[1] == ["AdaSP", "4", "**62.0 ± 2.0**", "**72.0 ± 2.0**"]


def test_text_has_the_same_figures_with_a_star() -> None:
    lines = ResultTable(FOUR, ["mAP"]).text().splitlines()
    assert lines[0] == "config adasp/synth"
    assert lines[4].split() == ["AdaSP", "4", "*62.0", "±", "2.0"]
    assert lines[5].split() == ["AdaSP", "8", "59.3", "±", "0.3"]
    assert "Mean ± sample standard deviation over 3 seeds; best of each column marked *." in lines
    assert sum("*" in line for line in lines[4:8]) == 1


def test_values_of_a_label_become_columns() -> None:
    for name in (COUNT, "NUM_INSTANCE"):
        table = ResultTable(FOUR, ["mAP"], columns=name)
        assert markdown_rows(table) == [
            ["NAME", "4", "8"],
            ["AdaSP", "**62.0 ± 2.0**", "**59.3 ± 0.3**"],
            ["MS", "61.0 ± 0.0", "50.0 ± 10.0"],
        ]
        assert "### mAP by NUM_INSTANCE\n" in table.markdown()
        assert "\nmAP by NUM_INSTANCE\n" in table.text()


def test_a_table_for_each_metric_and_an_empty_cell_for_what_there_is_not() -> None:
    table = ResultTable(FOUR[:3], columns=COUNT)
    assert [line for line in table.markdown().splitlines() if line.startswith("#")] == [
        "### mAP by NUM_INSTANCE",
        "### Rank-1 by NUM_INSTANCE",
    ]
    rows = markdown_rows(table)
    assert rows[2] == ["MS", "61.0 ± 0.0", ""]
    # A column with one figure has no best one.
    assert rows[1] == ["AdaSP", "**62.0 ± 2.0**", "59.3 ± 0.3"]
    assert rows[4] == ["AdaSP", "**72.0 ± 2.0**", "69.3 ± 0.3"]


def test_columns_keep_the_order_of_the_sweep() -> None:
    table = ResultTable([setting("AdaSP", count, 60.0) for count in (16, 4, 8)], ["mAP"], columns=COUNT)
    assert markdown_rows(table) == [["16", "4", "8"], ["60.0", "60.0", "60.0"]]


def test_what_prints_alike_is_marked_alike() -> None:
    results = [setting("A", 4, 61.24), setting("B", 4, 61.16), setting("C", 4, 61.14)]
    assert [row[-1] for row in markdown_rows(ResultTable(results, ["mAP"]))[1:]] == ["**61.2**", "**61.2**", "61.1"]


def test_one_seed_has_no_spread() -> None:
    table = ResultTable([setting("A", 4, 61.2), setting("B", 4, 60.0)], ["mAP"])
    assert "±" not in table.text()
    assert "One seed; best of each column marked *." in table.text()
    assert read(table.csv())[0]["spread"] == ""


def test_seeds_that_are_missing_are_told() -> None:
    results = [
        setting("A", 4, 60.0, 62.0, seeds=3, s2="RuntimeError: no\nmemory | here"),
        setting("B", 4, 70.0, seeds=3),
        setting("C", 4, seeds=3),
        setting("D", 4, seeds=2, s0="broken", s1="broken"),
        setting("E", 4, seeds=2, s0="broken"),
        setting("F", 4, 55.0, 55.0, seeds=3),
    ]
    table = ResultTable(results, ["mAP"])
    assert [row[-1] for row in markdown_rows(table)[1:]] == [
        f"**61.0 ± {math.sqrt(2):.1f} (2 of 3)**",
        "70.0 (1 of 3)",
        "-",
        "failed",
        "-",
        "55.0 ± 0.0 (2 of 3)",
    ]
    text = table.text()
    assert "over the seeds of each setting (2 to 3)" in text
    assert "best of each column among those of most seeds marked *; in brackets: seeds that have a figure." in text
    assert "  A, seed 2: RuntimeError: no memory | here\n  D, seed 0: broken\n  D, seed 1: broken\n" in text
    assert "- A, seed 2: RuntimeError: no memory \\| here\n" in table.markdown()


def test_a_run_that_succeeded_in_the_end_did_not_fail() -> None:
    assert "left out" not in ResultTable([setting("A", 4, 60.0, s0="at first")], ["mAP"]).text()


def test_not_a_number_is_left_out_and_told() -> None:
    results = [setting("A", 4, 50.0, math.nan, 52.0), setting("B", 4, math.nan), setting("C", 4, 40.0, 41.0, 42.0)]
    table = ResultTable(results, ["mAP"])
    assert [row[-1] for row in markdown_rows(table)[1:]] == ["51.0 ± 1.4 (2 of 3)", "nan", "41.0 ± 1.0"]
    assert "  A, seed 1: SynthReID/mAP is nan\n  B, seed 0: SynthReID/mAP is nan\n" in table.text()
    assert [row["mean"] for row in read(table.csv())] == ["51.0", "", "41.0"]


def test_nothing_has_ended_yet() -> None:
    table = ResultTable([setting("A", 4, seeds=3), setting("B", 4, seeds=3)])
    assert markdown_rows(table) == [["NAME", "mAP", "Rank-1"], ["A", "-", "-"], ["B", "-", "-"]]
    assert "best" not in table.text()
    assert [row["seeds"] for row in read(table.csv())] == ["0"] * 4
    assert ResultTable([]).text()


def test_several_test_sets_whose_names_hold_slashes_and_commas() -> None:
    spec = "MarketLayout:/data/mine,cameras=2"
    figures = {0: {"Market1501/mAP": 70.0, f"{spec}/mAP": 30.0, f"{spec}/Rank-1": 40.0, "Market1501/Rank-1": 90.0}}
    results = [SettingResult({"config": name}, figures, {}, (0,)) for name in "ab"]
    results.append(SettingResult({"config": "c"}, {0: {"Market1501/mAP": 75.0, "Market1501/Rank-1": 80.0}}, {}, (0,)))
    table = ResultTable(results)
    rows = markdown_rows(table)
    assert rows[0] == ["config", "Market1501 mAP", "Market1501 Rank-1", f"{spec} mAP", f"{spec} Rank-1"]
    assert rows[1] == ["a", "70.0", "**90.0**", "**30.0**", "**40.0**"]
    assert rows[3] == ["c", "**75.0**", "80.0", "", ""]
    lines = read(table.csv())
    assert [(line["config"], line["dataset"], line["metric"]) for line in lines[2:4]] == [
        ("a", spec, "mAP"),
        ("a", spec, "Rank-1"),
    ]
    assert len(lines) == 4 + 4 + 2
    assert f"### {spec} Rank-1 by config" in ResultTable(results, columns="config").markdown()


def test_csv_is_unrounded_and_the_same_for_every_layout() -> None:
    values = (61.23456789012345, 60.1, 62.7)
    labels = {LOSS: "('CrossEntropyLoss', \"MS\")", COUNT: "4"}
    runs = {seed: {"Market1501/mAP": value} for seed, value in enumerate(values)}
    results = [SettingResult(labels, runs, {}, (0, 1, 2, 3)), SettingResult({**labels, COUNT: "8"}, {}, {}, (0,))]
    text = ResultTable(results, ["mAP"]).csv()
    assert text == ResultTable(results, ["mAP"], columns=COUNT).csv()
    first, second = read(text)
    assert first[LOSS] == labels[LOSS]
    assert float(first["mean"]) == statistics.fmean(values)
    assert float(first["spread"]) == statistics.stdev(values)
    assert (first["dataset"], first["metric"], first["seeds"], first["planned"]) == ("Market1501", "mAP", "3", "4")
    assert (second["mean"], second["spread"], second["seeds"], second["planned"]) == ("", "", "0", "1")


def test_a_line_for_each_run() -> None:
    result = setting("A, or B", 4, 60.0, seeds=3, s1='said "no"\nand left')
    rows = read(runs_csv([result, setting("C", 4, 1 / 3)]))
    assert [(row[LOSS], row["seed"], row["state"]) for row in rows] == [
        ("A, or B", "0", "finished"),
        ("A, or B", "1", "failed"),
        ("A, or B", "2", "waiting"),
        ("C", "0", "finished"),
    ]
    assert [row["SynthReID/mAP"] for row in rows[:3]] == ["60.0", "", ""]
    assert float(rows[3]["SynthReID/mAP"]) == 1 / 3
    assert [row["reason"] for row in rows] == ["", 'said "no"\nand left', "", ""]


def test_markdown_shows_values_as_they_are() -> None:
    results = [SettingResult({"A.x": "a|b_c *d* _e"}, {0: {"mAP": 1.0}}), SettingResult({"A.x": "plain"})]
    assert r"| a\|b_c \*d\* \_e |" in ResultTable(results, ["mAP"]).markdown()


def test_names_are_short_where_they_are_clear() -> None:
    assert short_names([LOSS, COUNT, "config"]) == {LOSS: "NAME", COUNT: "NUM_INSTANCE", "config": "config"}
    assert short_names(["A.B.SCALE", "A.C.SCALE", "SCALE"]) == {
        "A.B.SCALE": "B.SCALE",
        "A.C.SCALE": "C.SCALE",
        "SCALE": "SCALE",
    }


def test_unknown_names_are_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=f"no label 'NUM_INSTANCES'. Did you mean NUM_INSTANCE.*{COUNT}"):
        ResultTable(FOUR, columns="NUM_INSTANCES")
    with pytest.raises(ConfigError, match=r"no metric 'Rank1'\. Did you mean Rank-1"):
        ResultTable(FOUR, ["mAP", "Rank1"])


def test_settings_that_cannot_be_told_apart_are_refused() -> None:
    with pytest.raises(ConfigError, match=f"same labels: config adasp/synth, {LOSS} MS, {COUNT} 8"):
        ResultTable([*FOUR, FOUR[-1]])
