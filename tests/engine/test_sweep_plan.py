"""Which trainings a sweep consists of."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.sweep.plan import parse_options, plan_settings


def test_axes_and_overwritten_keys_come_in_any_order() -> None:
    axes, fixed = parse_options(
        ["SEED", "3", "DATALOADER.NUM_INSTANCE=4,8", "OUTPUT_DIR", "logs/a=b", "SOLVER.OPT=SGD"]
    )
    assert axes == {"DATALOADER.NUM_INSTANCE": ["4", "8"], "SOLVER.OPT": ["SGD"]}
    assert fixed == ["SEED", "3", "OUTPUT_DIR", "logs/a=b"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1, 2", ["1", "2"]),
        ('("A","B"),("C",)', ['("A","B")', '("C",)']),
        ("[1,2],[3,4]", ["[1,2]", "[3,4]"]),
        (
            '("pml:MultiSimilarityLoss:alpha=2,beta=50",),("x",)',
            ['("pml:MultiSimilarityLoss:alpha=2,beta=50",)', '("x",)'],
        ),
        ("'a,b',c", ["a,b", "c"]),
        ('"",x.pth', ["", "x.pth"]),
        ("/it's/a.pth,/b.pth", ["/it's/a.pth", "/b.pth"]),
    ],
)
def test_only_commas_outside_of_brackets_and_quotes_part_values(text: str, values: list[str]) -> None:
    assert parse_options([f"KEY={text}"])[0] == {"KEY": values}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["SEED=1,2"], "use --seeds"),
        (["OUTPUT_DIR=a,b"], "write OUTPUT_DIR"),
        (["SOLVER.OPT=SGD,SGD"], "comes twice"),
        (["SOLVER.OPT=SGD,"], "empty"),
        (["DATASETS.NAMES=('A','B'"], "do not close"),
        (["MODEL.WEIGHTS='a.pth,b.pth"], "do not close"),
        (["DATASETS.NAMES=1),(2"], "do not close"),
        (["SOLVER.OPT="], "empty"),
        (["SOLVER.OPT=SGD", "SOLVER.OPT=Adam"], "given twice"),
        (["SOLVER.OPT=SGD", "SOLVER.OPT", "Adam"], "given twice"),
        (["SOLVER.OPT"], "has no value"),
    ],
)
def test_mistakes_on_the_command_line_are_sentences(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_options(words)


def test_every_config_meets_every_combination_of_values(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.yml", "b.yml")]
    for number, file in enumerate(files):
        file.write_text(f"SOLVER:\n  MAX_EPOCH: {number + 1}\n")
    axes = {"SOLVER.OPT": ["SGD", "Adam"], "DATALOADER.NUM_INSTANCE": ["2", "4"]}
    settings = plan_settings([str(file) for file in files], axes, ["SOLVER.BASE_LR", "0.5"])
    found = [
        (s.cfg.SOLVER.MAX_EPOCH, s.cfg.SOLVER.OPT, s.cfg.DATALOADER.NUM_INSTANCE, s.cfg.SOLVER.BASE_LR)
        for s in settings
    ]
    assert found == [(e, o, k, 0.5) for e in (1, 2) for o in ("SGD", "Adam") for k in (2, 4)]
    assert dict(settings[1].labels) == {"config": "a", "SOLVER.OPT": "SGD", "DATALOADER.NUM_INSTANCE": "4"}


def test_configs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    files = [tmp_path / folder / "base.yml" for folder in ("one", "three")]
    for file in files:
        file.parent.mkdir()
        file.write_text(f"DATASETS:\n  ROOT: {file.parent.name}\nSOLVER:\n  MAX_EPOCH: {len(file.parent.name)}\n")
    settings = plan_settings([str(file) for file in files], {})
    assert [setting.labels["config"] for setting in settings] == ["one/base", "three/base"]
    assert len({setting.name for setting in settings}) == 2


def test_one_training_under_two_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the same training"):
        plan_settings([], {"SOLVER.BASE_LR": ["0.1", "1e-1"]})
    files = [tmp_path / name for name in ("v0.1.yml", "v0.2.yml")]
    for file in files:
        file.write_text("SOLVER:\n  MAX_EPOCH: 7\n")
    with pytest.raises(ConfigError, match=r"v0\.1 and v0\.2 are the same training"):
        plan_settings([str(file) for file in files], {})


def test_a_config_given_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.yml"
    file.write_text("SEED: 1\n")
    with pytest.raises(ConfigError, match="given twice"):
        plan_settings([str(file), str(tmp_path / ".." / tmp_path.name / "a.yml")], {})


def test_names_are_folders_and_different_for_different_settings() -> None:
    values = ["(TripletLoss)", "(TripletLoss:)", "Fluß/" + "\u8eca" * 80, "Fluß/" + "\u8eca" * 81]
    long = [f"{'x' * 200}{n}" for n in range(3)]
    axes = {"DATALOADER.SAMPLER_TRAIN": [*values, *long]}
    names = [setting.name for setting in plan_settings([], axes)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w.,=+-]{1,120}", name, re.ASCII) for name in names)


def test_a_typing_error_in_a_key_is_told_with_what_may_be_meant() -> None:
    with pytest.raises(ConfigError, match=r"DATALOADER\.NUM_INSTANCE"):
        plan_settings([], {"DATALOADER.NUM_INSTANCES": ["4"]})
