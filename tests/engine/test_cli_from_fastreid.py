"""`tools/from_fastreid.py`."""

from pathlib import Path

import pytest

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
    assert "DEPTH: 18x" in written and "WITH_NL" not in written and f"written: {output}" in capsys.readouterr().out
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
    names = {path.name for path in (config.parent / "out").iterdir()}
    assert len(names) == 2 and "old.modern.yml" in names


def test_one_unreadable_file_among_others(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = config.parent / "broken.yml"
    broken.write_text("a: [", encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main([str(config), str(broken), "--summary"])
    out, error = capsys.readouterr()
    assert stopped.value.code == 1 and "cannot be read" in out and "1 of 2 files" in error and "not valid YAML" in error


def test_weights(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
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
        ([config, "--weights", "gone.pth"], "no checkpoint"),
    ):
        code, error = fails(capsys, *words)
        assert code == 1 and message in error
