"""`tools/from_fastreid.py`."""

import os
import sys
from pathlib import Path

import pytest
import torch

from fastreid_ext.config import ConfigError, load_config
from fastreid_ext.engine.cli.from_fastreid import main

CONFIG = """
MODEL:
  BACKBONE: {DEPTH: 18x, FEAT_DIM: 512, WITH_NL: True}
DATASETS:
  NAMES: ("Market1501",)
  TESTS: ("Market1501",)
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "old.yml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def fails(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int | str | None, str]:
    with pytest.raises(SystemExit) as stopped:
        main(list(map(str, words)))
    return stopped.value.code, capsys.readouterr().err


def test_report_of_one_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(config), "TEST.FLIP.ENABLED", "True"])
    text = capsys.readouterr().out
    for heading in ("Network ", "Likely mistakes: 1", "Not as in FastReID: 2", "The same for this toolbox"):
        assert heading in text
    assert "TEST.FLIP.ENABLED True  (in the command line)" in text
    assert "MODEL.BACKBONE.WITH_NL True\n      Nothing reads it." in text
    assert not list(config.parent.glob("*.modern.yml"))


def test_output_is_written_and_not_overwritten(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = config.parent / "new" / "modern.yml"
    main([str(config), "--output", str(output)])
    written = output.read_text(encoding="utf-8")
    assert "#   MODEL.BACKBONE.WITH_NL: Nothing reads it." in written and "WITH_NL: True" not in written
    assert "DEPTH: 18x" in written and f"written: {output}" in capsys.readouterr().out
    # The same again is no loss.
    main([str(config), "--output", str(output)])
    code, error = fails(capsys, config, "--output", output, "SOLVER.MAX_EPOCH", 9)
    assert code == 1 and "not overwritten" in error and output.read_text(encoding="utf-8") == written


def test_folder_and_summary(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = config.parent / "more"
    folder.mkdir()
    (folder / "Base-a.yml").write_text("SOLVER: {MAX_EPOCH: 9}\n", encoding="utf-8")
    (folder / "old.yml").write_text("_BASE_: Base-a.yml\n" + CONFIG, encoding="utf-8")
    main([str(config.parent), "--summary", "--output", str(config.parent / "out")])
    lines = capsys.readouterr().out.split("\n")
    assert [line.split()[:4] for line in lines if line.startswith("2 files")] == [["2", "files", "2", "3"]]
    assert not any("Base-a" in line for line in lines)
    assert any(line.startswith("2 files") and line.endswith("1 base left out") for line in lines)
    out = config.parent / "out"
    written = {path.relative_to(out).as_posix() for path in out.rglob("*.yml")}
    assert written == {"old.modern.yml", "more/old.modern.yml"}
    # What was written is no config of FastReID's.
    code, error = fails(capsys, out)
    assert code == 1 and "no YAML file below the folder" in error and "but modern forms" in error
    main([str(config.parent), "--summary"])
    assert "2 files" in capsys.readouterr().out


def test_targets_are_checked_before_anything_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c"):
        (config.parent / name).mkdir()
        (config.parent / name / "old.yml").write_text(CONFIG, encoding="utf-8")
    twins = [config.parent / "a", config.parent / "b", config.parent / "c"]
    out = config.parent / "out"
    for words, message in (
        ([*twins, "--output", out], "would both be written to"),
        ([*twins, "--output", config], "is a file; 3 configs need a folder"),
        ([config, "--output", config / "below.yml"], "is a file, not a folder"),
        ([config, "--output", config], "not overwritten"),
    ):
        with pytest.raises(SystemExit) as stopped:
            main(list(map(str, words)))
        said, error = capsys.readouterr()
        assert stopped.value.code == 1 and message in error and not said
    assert not out.exists()


def test_what_does_not_run_is_said_in_the_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = config.parent / "modern.yml"
    code, error = fails(capsys, config, "--output", output, "INPUT.SIZE_TRAIN", "[0]")
    assert code == 1 and "does not run here" in error
    written = output.read_text(encoding="utf-8")
    assert "\n# Does not run here:\n" in written and "INPUT.SIZE_TRAIN is [0]" in written
    with pytest.raises(ConfigError, match=r"INPUT.SIZE_TRAIN is \[0\]"):
        load_config(output)


def test_what_holds_for_every_config_is_said_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = config.parent / "other.yml"
    other.write_text(CONFIG, encoding="utf-8")
    main([str(config), str(other)])
    text = capsys.readouterr().out
    assert text.count("whatever the config") == 1 and text.count("The same for this toolbox") == 2


def test_reader_that_has_enough(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        main([str(config)])


def test_one_unreadable_file_among_others(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = config.parent / "broken.yml"
    broken.write_text("a: [", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main([str(config), str(broken), "--summary"])
    out, error = capsys.readouterr()
    assert stopped.value.code == 1 and "cannot be read" in out and "1 of 2 files" in error and "not valid YAML" in error


def test_weights(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = config.parent / "weights.pth"
    torch.save({"model": {"heads.weight": torch.zeros(9, 512)}}, weights)
    main([str(config), "--weights", str(weights)])
    assert "The classifier heads.weight has 9 classes, here 751" in capsys.readouterr().out


def test_errors(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(capsys)[0] == 2
    empty = config.parent / "empty"
    empty.mkdir()
    for words, message in (
        (["nothing.yml"], "no config file or folder nothing.yml"),
        ([empty], "no YAML file below the folder"),
        (["SOLVER.MAX_EPOCH", "9"], "no config before SOLVER.MAX_EPOCH"),
        ([config, "SOLVER.MAX_EPOCH"], "has no value"),
        ([config, "SOLVER.MAX_EPOCHES", "9"], "SOLVER.MAX_EPOCH"),
        ([config, "SOLVER.MAX_EPOCH", "many"], "takes an int"),
        ([config, "SOLVER.MAX_EPOCH=9"], "write KEY VALUE, not KEY=VALUE"),
        ([config, "--weights", "gone.pth"], "no checkpoint"),
    ):
        code, error = fails(capsys, *words)
        assert code == 1 and message in error
