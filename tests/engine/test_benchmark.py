"""The benchmark program measures and writes what it says; how fast is not a test's business."""

import json
import sys
from pathlib import Path

import pytest
import torch

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
    assert "training step" in capsys.readouterr().out


def test_msinet_benchmark(tmp_path: Path) -> None:
    path = tmp_path / "msinet.json"
    arguments = ["msinet", "--device", "cpu", "--repeats", "1", "--batch-size", "4", "--size", "64", "32"]
    main([*arguments, "--json", str(path)])
    written = json.loads(path.read_text())
    seconds = {(row["memory"], row["what"], row["model"]): row["s"] for row in written["rows"]}
    assert len(seconds) == 2 * (7 + 3)
    inference = {model: s for (memory, what, model), s in seconds.items() if (memory, what) == ("freed", "inference")}
    figures = written["figures"]
    ours, resnet = (inference[f"{name}, prepared"] for name in ("MSINet", "ResNet-50"))
    assert figures["msinet.speedup"] == pytest.approx(inference["MSINet, plain"] / ours)
    assert figures["msinet.over_resnet50"] == pytest.approx(ours / resnet)
    assert {"msinet.training_speedup", "msinet.speedup_where_both_keep_memory"} <= set(figures)


def test_msinet_benchmark_refuses_other_outputs() -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.msinet"]
    inputs = {"a": torch.ones(1), "a, quick": torch.ones(1)}
    with pytest.raises(AssertionError, match="not close"):
        module._check({"a": torch.nn.Identity(), "a, quick": torch.nn.Softplus()}, inputs)


def test_sam_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.sam"]
    # Here, instead of in processes that take seconds to start.
    monkeypatch.setattr(module, "_alone", lambda trial, name, returned: module._megabytes(1, trial, name))
    path = tmp_path / "sam.json"
    arguments = ["sam", "--device", "cpu", "--repeats", "1", "--batch-size", "8", "--size", "64", "32"]
    main([*arguments, "--json", str(path)])
    written = json.loads(path.read_text())
    rows = {(row["maps"], row["layout"], row["what"]): row for row in written["rows"]}
    assert len(rows) == 2 * 2 * 3
    ours, einsum = (rows["8 x 512 x 4 x 2", "contiguous", what] for what in ("ours", "einsum"))
    assert written["figures"]["sam.time_ratio"] == pytest.approx(einsum["s"] / ours["s"])
    assert {"sam.memory_ratio", "sam.memory_ratio_by_default", "sam.over_product"} <= set(written["figures"])


def test_loader_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.loader"]
    monkeypatch.setattr(module, "IDENTITIES", 4)
    monkeypatch.setattr(module, "GROWTH_BATCHES", 20)
    path = tmp_path / "loader.json"
    arguments = ["loader", "--device", "cpu", "--repeats", "1", "--batch-size", "8", "--size", "64", "32"]
    main([*arguments, "--json", str(path)])
    written = json.loads(path.read_text())
    rates = {(row["what"], row["with"]): row["value"] for row in written["rows"] if row["unit"] == "images/s"}
    kinds = ["classic, 2 workers", "ours, device", "ours, mmap", "ours, stream", "slice copies of bytes alone"]
    assert [what for what, with_ in rates if "AutoAugment" in with_] == kinds
    assert len(rates) == 10
    figures = written["figures"]
    (plain,) = {with_ for _, with_ in rates if "AutoAugment" not in with_}
    speedup = rates["ours, device", plain] / rates["classic, 2 workers", plain]
    assert figures["loader.speedup"] == pytest.approx(speedup)
    assert figures["loader.store_over_bound"] == 1
    for name in ("msinet", "resnet50"):
        assert figures[f"loader.share_{name}"] > 0
        assert figures[f"loader.slowdown_{name}"] > -1
    assert {"loader.first_epoch_ratio", "loader.speedup_autoaugment", "loader.growth_mb"} <= set(figures)


def test_unknown_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trian"])
    assert "unknown benchmark 'trian'. Did you mean train" in capsys.readouterr().err


def test_runs_alternate_after_an_untimed_round() -> None:
    order: list[str] = []
    seconds = alternate({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2, device="cpu")
    assert order == ["a", "b"] * 3 and set(seconds) == {"a", "b"}
