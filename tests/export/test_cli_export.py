"""The command line that exports."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from exported_models import checkpoint, config

from fastreid_ext.engine.cli.export import main
from fastreid_ext.inference import open_embedder


@pytest.fixture
def run(market_folder: Callable[..., Path], tmp_path: Path) -> Path:
    """The folder of a run, whose data set is there."""
    spec = (f"MarketLayout:{market_folder(train_ids=2, test_ids=3)}",)
    cfg = config(DATASETS__NAMES=spec, DATASETS__TESTS=spec)
    return checkpoint(tmp_path / "run" / "model_best.pth", cfg).parent


def failure(words: list[Any], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as raised:
        main([str(word) for word in words])
    assert raised.value.code in (1, 2)
    return capsys.readouterr().err


def row(lines: list[str], ending: str) -> str:
    """The line of a table whose first cell ends so."""
    (line,) = (line for line in lines if re.search(rf"{re.escape(ending)} +\|", line))
    return line


def test_all_formats_and_int8(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(run), "--format", "all", "--int8", "TEST.FLIP.ENABLED", "False"])
    lines = capsys.readouterr().out.splitlines()
    names = ("model_best.onnx", "model_best.pt2", "model_best.safetensors", "model_best.int8.onnx")
    for name in names:
        line = row(lines, name)
        random, real = (float(word) for word in line.split("|")[3:5])
        assert (max(random, real) < 1e-6) == ("int8" not in name)
        assert not open_embedder(run / name, device="cpu").card.flip
    for kind in ("float", "int8"):
        line = row(lines, f", {kind}")
        assert 0 < float(line.split("|")[2]) <= 100
    assert sorted(path.name for path in run.iterdir()) == sorted([*names, "model_best.pth"])


def test_files_are_evaluated_beside_the_evaluation(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(run), "--format", "all", "--int8", "--evaluate", "TEST.FLIP.ENABLED", "True"])
    lines = capsys.readouterr().out.splitlines()
    (spec,) = {line.split("|")[1].split(",")[0].strip() for line in lines if ", evaluation" in line}
    evaluation = row(lines, f"{spec}, evaluation").split("|")[2:]
    for kind in ("Predictor", "onnx", "pt2", "safetensors"):
        assert row(lines, f"{spec}, {kind}").split("|")[2:] == evaluation
    found = {cells[2].strip(): cells for line in lines if len(cells := line.split("|")) == 6 and spec in line}
    assert list(found) == ["Predictor", "onnx", "pt2", "safetensors", "int8"]
    for kind, (_, _, _, images, difference, _) in found.items():
        assert int(images) == 18
        assert (0 < float(difference) < 1e-6) == (kind != "int8")


def test_one_format_to_a_file_of_that_name(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "new" / "mine.safetensors"
    main([str(run / "model_best.pth"), "--format", "safetensors", "--output", str(output), "--images", str(run.parent)])
    assert output.is_file() and list(output.parent.iterdir()) == [output]
    assert "real" in capsys.readouterr().out


def test_without_its_data_set_the_check_is_told_to_be_poorer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path / "model.pth", config(DATASETS__TESTS=("Market1501",), DATASETS__ROOT=str(tmp_path)))
    main([str(path), "--format", "safetensors"])
    told = capsys.readouterr()
    assert "checked with random images only: --images FOLDER names real ones" in told.out + told.err
    assert "from PyTorch on random images" in told.out and "difference, real" not in told.out
    assert "Market1501" in failure([path, "--format", "safetensors", "--images", "Market1501"], capsys)
    assert "no readable image in" in failure([path, "--images", tmp_path], capsys)


def test_one_format_that_fails_leaves_the_others(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise ValueError("never")

    monkeypatch.setattr("torch.export.export", refuse)
    with pytest.raises(SystemExit):
        main([str(run), "--format", "all", "--int8"])
    told = capsys.readouterr()
    assert "model_best.safetensors |" in told.out
    assert "model_best.onnx is not written: torch.export cannot follow the model: never" in told.err
    assert "model_best.pt2 is not written" in told.err
    assert sorted(path.name for path in run.iterdir()) == ["model_best.pth", "model_best.safetensors"]


def test_weights_can_be_exported_again(
    exported: Mapping[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "again.safetensors"
    main([str(exported["safetensors"]), "--format", "safetensors", "--output", str(output)])
    assert "checked with random images only" in capsys.readouterr().out
    assert output.read_bytes() == exported["safetensors"].read_bytes()


def test_what_does_not_go_together(
    run: Path, exported: Mapping[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, said in (
        (["--format", "pt2", "--int8"], "--int8 makes an ONNX file"),
        (["--calibration", run], "--calibration is for --int8"),
        (["--output", "x.pb"], "--output x.pb: the name of a file of --format onnx ends in .onnx"),
        (["other"], "'other' is no config key"),
        (["--int8", "--calibration", run], "no readable image in"),
    ):
        assert said in failure([run, *words], capsys)
    assert "is an exported model: export the checkpoint" in failure([exported["onnx"]], capsys)
    for option in ("--int8", "--evaluate"):
        assert f"{option} is measured on a run's data" in failure([exported["safetensors"], option], capsys)
    assert "no checkpoint" in failure([tmp_path / "nothing.pth"], capsys)


def test_a_corrupt_image_is_told_and_left_out(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = next(path for path in tmp_path.rglob("query"))
    next(folder.iterdir()).write_bytes(b"no image")
    main([str(run), "--format", "safetensors", "--images", str(folder)])
    told = capsys.readouterr()
    assert "left out" in told.out + told.err and "not an image" in told.out + told.err
