"""The benchmark of exported models."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from fastreid_ext.engine.cli.benchmark import main
from fastreid_ext.export import ExportError


def test_export_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    module: Any = sys.modules["fastreid_ext.engine.benchmarks.export"]
    small = module._Model("small", "Market1501/bagtricks_R50", module._backbone("osnet", "x0_25"))
    monkeypatch.setattr(module, "MODELS", (small,))
    plainly = module.export_model

    def export_model(model: Any, path: Path) -> Any:
        # Minutes, of which other tests tell.
        if path.suffix != ".safetensors":
            raise ExportError(f"{path.name} is refused")
        return plainly(model, path)

    monkeypatch.setattr(module, "export_model", export_model)
    path = tmp_path / "export.json"
    arguments = ["export", "--device", "cpu", "--repeats", "1", "--batch-size", "2", "--size", "64", "32"]
    main([*arguments, "--json", str(path)])
    (row,) = json.loads(path.read_text())["rows"]
    assert row["model"] == "small" and row["torch images/s"] > 0 and row["safetensors speed-up"] > 0
    assert row["safetensors difference"] < 1e-6
    assert row["onnx difference"] is None and row["pt2 difference"] is None
    told = capsys.readouterr()
    assert "small: model.onnx is refused" in told.out + told.err


def test_every_model_has_a_config_that_can_be_read() -> None:
    from fastreid_ext.config import load_config

    module: Any = sys.modules["fastreid_ext.engine.benchmarks.export"]
    for model in module.MODELS:
        cfg = load_config(model.config, [*model.options, "INPUT.SIZE_TEST", [64, 32]])
        assert not cfg.TEST.ENSEMBLE
