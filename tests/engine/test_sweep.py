"""Sweeps of tiny trainings."""

from __future__ import annotations

import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import options

from fastreid_ext.config import ConfigError, load_config
from fastreid_ext.engine.cli.sweep import main
from fastreid_ext.engine.searches import SearchResources
from fastreid_ext.engine.sweep.plan import Setting
from fastreid_ext.engine.sweep.sweep import Sweep
from fastreid_ext.engine.trainer import DefaultTrainer
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.trials import TrialStore

ROOT = Path(__file__).resolve().parents[2]
IN_PROCESS = SearchResources(backend="in-process")
MarketFolder = Callable[..., Path]


@pytest.fixture
def data(market_folder: MarketFolder) -> Path:
    return market_folder()


def setting(data: Path, name: str, **more: Any) -> Setting:
    cfg = load_config("", options(data, data / "unused", **{"SOLVER.MAX_EPOCH": 1, **more}))
    return Setting(name, {"config": name}, cfg)


def words(data: Path, output: Path, *rest: str) -> list[str]:
    return [*map(str, options(data, output, **{"SOLVER.MAX_EPOCH": 1})), *rest]


def weights(run: Path) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = torch.load(run / "model_final.pth", weights_only=True)["model"]
    return model


def same(first: Path, second: Path) -> bool:
    one, other = weights(first), weights(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_of_a_sweep_is_the_training_that_its_config_means(data: Path, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", [setting(data, "a", SEED=7)], num_seeds=2, resources=IN_PROCESS)
    sweep.run()
    (result,) = sweep.results()
    assert result.seeds == (7, 8)
    cfg = load_config("", options(data, tmp_path / "alone", **{"SOLVER.MAX_EPOCH": 1, "SEED": 8}))
    trainer = DefaultTrainer(cfg)
    trainer.resume_or_load()
    (figures,) = trainer.train().values()
    spec = cfg.DATASETS.TESTS[0]
    expected = {f"{spec}/{name}": value for name, value in figures.items() if isinstance(value, float)}
    assert dict(result.figures[8]) == expected
    runs = tmp_path / "out" / "runs" / "a"
    assert same(runs / "seed8", tmp_path / "alone")
    assert not same(runs / "seed7", runs / "seed8")


def test_a_sweep_that_has_grown_trains_what_is_new_only(data: Path, tmp_path: Path) -> None:
    first, second = setting(data, "a"), setting(data, "b", **{"SOLVER.BASE_LR": 0.01})
    Sweep(tmp_path / "out", [first], num_seeds=1, resources=IN_PROCESS).run()
    grown = Sweep(tmp_path / "out", [second, first], num_seeds=2, resources=IN_PROCESS)
    grown.run(resume=True)
    with TrialStore.read(grown.file) as store:
        trials = list(store.trials())
    runs = [(t.proposal.candidate["setting"], t.proposal.candidate["seed"], t.attempts) for t in trials]
    assert runs == [("a", 0, 1), ("b", 0, 1), ("b", 1, 1), ("a", 1, 1)]
    assert [sorted(result.figures) for result in grown.results()] == [[0, 1], [0, 1]]


def test_a_failed_run_says_why_and_is_tried_again(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train = DefaultTrainer.train
    monkeypatch.setattr(DefaultTrainer, "train", lambda self: (_ for _ in ()).throw(RuntimeError("no room\nat all")))
    sweep = Sweep(tmp_path / "out", [setting(data, "a")], num_seeds=1, resources=IN_PROCESS)
    sweep.run()
    (result,) = sweep.results()
    assert result.failures == {0: "RuntimeError: no room"}
    assert "Traceback" in (tmp_path / "out" / "runs" / "a" / "seed0" / "log.txt").read_text()
    monkeypatch.setattr(DefaultTrainer, "train", train)
    sweep.run(resume=True)
    (result,) = sweep.results()
    assert not result.failures
    assert sorted(result.figures) == [0]


def test_runs_of_another_config_are_not_mixed_in(data: Path, tmp_path: Path) -> None:
    Sweep(tmp_path / "out", [setting(data, "a")], num_seeds=1, resources=IN_PROCESS).run()
    other = Sweep(tmp_path / "out", [setting(data, "a", **{"SOLVER.BASE_LR": 0.5})], num_seeds=1, resources=IN_PROCESS)
    for look in (lambda: other.run(resume=True), other.results):
        with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LR was the default, is 0\.5"):
            look()
    free = Sweep(tmp_path / "out", [setting(data, "a", **{"DATALOADER.NUM_WORKERS": 2})], num_seeds=1)
    assert len(free.results()) == 1


def test_what_is_wrong_is_told_before_anything_is_made(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(SearchError, match="no sweep to resume"):
        Sweep(folder, [setting(data, "a")], resources=IN_PROCESS).run(resume=True)
    with pytest.raises(SearchError, match="no sweep in"):
        Sweep(folder, [setting(data, "a")]).results()
    with pytest.raises(ConfigError, match="TESTS is empty"):
        Sweep(folder, [setting(data, "a", **{"DATASETS.TESTS": ()})], resources=IN_PROCESS).run()
    missing = setting(data, "a", **{"DATASETS.TESTS": (f"MarketLayout:{tmp_path / 'missing'}",)})
    with pytest.raises(Exception, match="missing"):
        Sweep(folder, [missing], resources=IN_PROCESS).run()
    assert not folder.exists()


def test_a_second_sweep_does_not_write_into_the_first(data: Path, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", [setting(data, "a")], num_seeds=1, resources=IN_PROCESS, keep_checkpoints=False)
    sweep.run()
    assert not list((tmp_path / "out").rglob("*.pth"))
    with pytest.raises(SearchError, match="--resume"):
        sweep.run()
    sweep.file.unlink()
    with pytest.raises(SearchError, match="--resume"):
        sweep.run()


def test_the_program_ends_in_tables(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    arguments = ["--seeds", "2", "--backend", "in-process", "--columns", "BASE_LR", "--plot"]
    main([*arguments, *words(data, output, "SOLVER.BASE_LR=0.0001,0.01")])
    assert "mAP by BASE_LR" in capsys.readouterr().out
    rows = list(csv.DictReader((output / "runs.csv").open()))
    assert [(row["SOLVER.BASE_LR"], row["seed"], row["state"]) for row in rows] == [
        (lr, seed, "finished") for lr in ("0.0001", "0.01") for seed in ("0", "1")
    ]
    name = f"MarketLayout:{data}/mAP"
    means = {r["SOLVER.BASE_LR"]: r for r in csv.DictReader((output / "sweep.csv").open()) if r["metric"] == "mAP"}
    for rate in ("0.0001", "0.01"):
        values = [float(row[name]) for row in rows if row["SOLVER.BASE_LR"] == rate]
        assert float(means[rate]["mean"]) == pytest.approx(statistics.fmean(values))
        results = json.loads((output / "runs" / f"defaults,BASE_LR={rate}" / "seed1" / "results.json").read_text())
        assert values[1] == results[f"MarketLayout:{data}"]["mAP"]
    assert "| 0.0001 | 0.01 |" in (output / "sweep.md").read_text()
    assert (output / "sweep.svg").read_text().startswith("<?xml")
    main(["--report", "--seeds", "2", "--metrics", "mINP", *words(data, output, "SOLVER.BASE_LR=0.0001,0.01")])
    assert "mINP" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "at least 1"),
        (["--plot"], "--columns"),
        (["--resume", "--report"], "leave it out"),
        (["--address", "auto"], "--backend ray"),
        (["SEED", "1", "--resume"], "before the first KEY"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_a_column_that_does_not_vary_is_refused_before_training(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["--columns", "BASE_LRR", *words(data, tmp_path / "out", "SOLVER.BASE_LR=0.1,0.2")])
    assert "BASE_LR" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_failed_runs_end_the_program_with_an_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments = words(data, tmp_path / "out", "MODEL.HEADS.POOL_LAYER=GlobalAvgPool,GlobalMaxPol")
        main(["--seeds", "1", "--backend", "in-process", *arguments])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "1 runs failed" in printed.err
    assert "Did you mean GlobalMaxPool" in printed.out


def test_a_killed_sweep_goes_on_in_the_middle_of_its_runs(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    more = ["SOLVER.MAX_EPOCH", "12", "SOLVER.BASE_LR=0.0001,0.001"]
    command = [sys.executable, str(ROOT / "tools" / "sweep.py"), "--seeds", "1", "--workers", "2"]
    process = subprocess.Popen([*command, *words(data, output, *more)], stdout=subprocess.DEVNULL)
    checkpoints = [
        output / "runs" / f"defaults,BASE_LR={lr}" / "seed0" / "last_checkpoint" for lr in ("0.0001", "0.001")
    ]
    try:
        deadline = time.monotonic() + 300
        while not all(file.exists() for file in checkpoints) and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    main(["--resume", "--seeds", "1", "--backend", "in-process", *words(data, output, *more)])
    logs = [(file.parent / "log.txt").read_text() for file in checkpoints]
    assert all("resumed from" in log for log in logs)
    reference = tmp_path / "whole"
    main(["--seeds", "1", "--backend", "in-process", *words(data, reference, *more)])
    for file in checkpoints:
        run = file.parent.relative_to(output)
        assert same(output / run, reference / run)
