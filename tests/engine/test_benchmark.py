"""The benchmark program measures and writes what it says; how fast is not a test's business."""

import json
from pathlib import Path

import pytest

from fastreid_ext.engine.benchmarks.timing import alternate
from fastreid_ext.engine.cli.benchmark import main


def test_train_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "train.json"
    arguments = ["train", "--device", "cpu", "--repeats", "1", "--batch-size", "4", "--size", "64", "32"]
    main([*arguments, "--json", str(path)])
    written = json.loads(path.read_text())
    assert set(written) == {"machine", "rows", "figures"}
    assert {(row["what"], row["model"], row["layout"]) for row in written["rows"]} == {
        (what, model, layout)
        for what in ("training step", "inference")
        for model in ("MSINet", "ResNet-50")
        for layout in ("contiguous", "channels-last")
    }
    assert all(row["images/s"] == pytest.approx(4 / row["s"]) for row in written["rows"])
    assert written["figures"]["msinet.over_resnet50"] > 0
    assert "training step" in capsys.readouterr().out


def test_unknown_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trian"])
    assert "unknown benchmark 'trian'. Did you mean train" in capsys.readouterr().err


def test_runs_alternate_after_an_untimed_round() -> None:
    order: list[str] = []
    seconds = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2, device="cpu")
    assert order == ["a", "b"] * 3 and set(seconds) == {"a", "b"}
