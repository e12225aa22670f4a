"""The plain screening and toy task that ours are compared with do the same."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext.engine.benchmarks.plain_gms import plain_accuracy, plain_stage
from fastreid_ext.engine.cli.benchmark import main
from fastreid_ext.projects.gms.presets import PRESETS
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.rejection import Screening
from fastreid_ext.projects.gms.toy_task import ToyTask


def test_plain_stages_are_ours() -> None:
    losses, verdicts = Screening().sample(np.random.default_rng(0), 300)
    stages = [verdict.reason.partition(":")[0] for verdict in verdicts]
    assert [plain_stage(losses.candidate(k), PRIMITIVES) for k in range(300)] == stages
    assert min(stages.count(stage) for stage in ("", "values", "properties")) > 20


def test_plain_accuracies_are_ours() -> None:
    task = ToyTask(batch_size=24, identities=4, width=5, steps=8, learning_rate=1.0)
    accuracies = task.accuracies(list(PRESETS.values()))
    assert [plain_accuracy(candidate, PRIMITIVES, task) for candidate in PRESETS.values()] == accuracies
    assert len(set(accuracies)) > 2


def test_gms_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.gms"]
    for name, number in {"CANDIDATES": 400, "TOY_TASKS": 30, "PLAIN_CANDIDATES": 20, "PLAIN_TOY_TASKS": 1}.items():
        monkeypatch.setattr(module, name, number)
    monkeypatch.setattr("fastreid_ext.engine.benchmarks.gms_layer.STEPS", 2)
    path = tmp_path / "gms.json"
    main(["gms", "--device", "cpu", "--repeats", "1", "--json", str(path)])
    written = json.loads(path.read_text())
    rates = {(row["what"], row["how"]): row["per s"] for row in written["rows"] if row.get("per s")}
    figures = written["figures"]
    over = {
        (row["what"], row["how"]): row["over CosSoftmax"] for row in written["rows"] if row["what"].startswith("layer")
    }
    assert figures["gms.overhead"] == pytest.approx(over["layer", "cosface"] - 1)
    assert figures["gms.overhead_in_head"] == pytest.approx(max(over["layer in a head", name] for name in PRESETS) - 1)
    for figure, what in (("candidates", "screening"), ("toy_tasks", "toy task")):
        ours, plain = rates[what, "ours"], rates[what, "one at a time, autograd"]
        assert figures[f"gms.{figure}_per_second"] == ours
        assert figures[f"gms.{figure}_speedup"] == pytest.approx(ours / plain)
    for how in ("at most 10 operations", "just 10 operations"):
        shares = {row["what"]: row["share"] for row in written["rows"] if row["how"] == how}
        assert set(shares) == {"rejected by values", "rejected by properties", "rejected by toy task", "accepted"}
        assert sum(shares.values()) == pytest.approx(1)
