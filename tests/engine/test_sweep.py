"""Sweeps of tiny trainings."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
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
from fastreid_ext.data.datasets import DatasetError
from fastreid_ext.engine.cli.sweep import main
from fastreid_ext.engine.searches import SearchResources
from fastreid_ext.engine.sweep.candidates import as_candidate, stored_config
from fastreid_ext.engine.sweep.checks import check_settings, choose_metrics
from fastreid_ext.engine.sweep.plan import Setting
from fastreid_ext.engine.sweep.sweep import Sweep
from fastreid_ext.engine.trainer import DefaultTrainer
from fastreid_ext.registry import RegistryError
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.protocols import Proposal
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
    with TrialStore.read(tmp_path / "out" / "trials.sqlite") as store:
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


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("SOLVER.BASE_LR", 0.5, "SOLVER.BASE_LR was the default, is 0.5"),
        ("MODEL.LOSSES.TRI.MARGIN", 0.1, "MODEL.LOSSES.TRI.MARGIN was the default, is 0.1"),
    ],
)
def test_runs_of_another_config_are_not_mixed_in(data: Path, tmp_path: Path, key: str, value: float, line: str) -> None:
    Sweep(tmp_path / "out", [setting(data, "a")], num_seeds=1, resources=IN_PROCESS).run()
    other = Sweep(tmp_path / "out", [setting(data, "a", **{key: value})], num_seeds=1, resources=IN_PROCESS)
    with pytest.raises(ConfigError, match=re.escape(line)):
        other.run(resume=True)
    assert not other.results()[0].figures


@pytest.mark.parametrize(
    ("key", "value"), [("DATALOADER.NUM_WORKERS", 2), ("TEST.IMS_PER_BATCH", 7), ("SOLVER.LOG_PERIOD", 1)]
)
def test_what_does_not_change_figures_may_change(data: Path, tmp_path: Path, key: str, value: int) -> None:
    Sweep(tmp_path / "out", [setting(data, "a")], num_seeds=1, resources=IN_PROCESS).run()
    other = Sweep(tmp_path / "out", [setting(data, "a", **{key: value})], num_seeds=2, resources=IN_PROCESS)
    other.run(resume=True)
    assert sorted(other.results()[0].figures) == [0, 1]
    with TrialStore.read(tmp_path / "out" / "trials.sqlite") as store:
        *_, trial = store.trials()
    section, name = key.split(".")
    assert (trial.number, trial.proposal.candidate["config"][section][name]) == (2, value)


def test_runs_are_known_by_their_configs_whatever_they_are_called(data: Path, tmp_path: Path) -> None:
    Sweep(tmp_path / "out", [setting(data, "a")], num_seeds=1, resources=IN_PROCESS).run()
    renamed = Sweep(tmp_path / "out", [setting(data, "one/a")], num_seeds=1, resources=IN_PROCESS)
    renamed.run(resume=True)
    with TrialStore.read(tmp_path / "out" / "trials.sqlite") as store:
        assert store.last_number() == 1
    (result,) = renamed.results()
    assert (result.labels["config"], sorted(result.figures)) == ("one/a", [0])


def test_runs_that_were_stopped_are_planned_anew(data: Path, tmp_path: Path) -> None:
    first, second = setting(data, "a"), setting(data, "b", **{"SOLVER.BASE_LR": 0.01, "DATALOADER.NUM_WORKERS": 2})
    Sweep(tmp_path / "out", [first], num_seeds=1, resources=IN_PROCESS).run()
    with TrialStore.open(tmp_path / "out" / "trials.sqlite") as store:
        stopped = [setting(data, "b", **{"SOLVER.BASE_LR": 0.01}), setting(data, "c", **{"SOLVER.BASE_LR": 0.02})]
        runs = [as_candidate(one.name, 0, stored_config(one.cfg)) for one in stopped]
        store.add([Proposal(run, "evaluate") for run in runs])
    sweep = Sweep(tmp_path / "out", [first, second], num_seeds=1, resources=IN_PROCESS)
    sweep.run(resume=True)
    with TrialStore.read(tmp_path / "out" / "trials.sqlite") as store:
        runs = [trial.proposal.candidate for trial in store.trials()]
    assert [run["setting"] for run in runs] == ["a", "b"]
    assert runs[1]["config"]["DATALOADER"]["NUM_WORKERS"] == 2


def test_the_config_of_a_failed_run_can_be_mended(data: Path, tmp_path: Path) -> None:
    bad = setting(data, "a", **{"SOLVER.BASE_LR": 1e30})
    Sweep(tmp_path / "out", [bad], num_seeds=1, resources=IN_PROCESS).run()
    # As if a checkpoint had been written before.
    folder = tmp_path / "out" / "runs" / "a" / "seed0"
    shutil.copy(folder / "model_nonfinite.pth", folder / "model_0000.pth")
    (folder / "last_checkpoint").write_text("model_0000.pth")
    mended = Sweep(tmp_path / "out", [setting(data, "a")], num_seeds=1, resources=IN_PROCESS)
    mended.run(resume=True)
    (result,) = mended.results()
    assert (sorted(result.figures), result.failures) == ([0], {})
    assert "resumed from" not in (folder / "log.txt").read_text()


def test_a_folder_tells_what_its_sweep_was(data: Path, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", [setting(data, "a", SEED=5)], num_seeds=2, resources=IN_PROCESS)
    sweep.run()
    read = Sweep.read(tmp_path / "out")
    assert read.num_seeds == 2 and read.results() == sweep.results()
    assert sorted(read.results()[0].figures) == [5, 6]


def test_the_folder_is_enough_to_go_on(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    main(["--seeds", "1", "--backend", "in-process", *words(data, output, "SOLVER.BASE_LR=0.0001,0.01")])
    main(["--resume", "--seeds", "2", "--backend", "in-process", "OUTPUT_DIR", str(output)])
    assert "runs: 4" in capsys.readouterr().out
    with TrialStore.read(output / "trials.sqlite") as store:
        assert [trial.attempts for trial in store.trials("evaluated")] == [1] * 4
    with pytest.raises(SystemExit):
        main(["--resume", "OUTPUT_DIR", str(tmp_path / "nowhere")])
    assert "no sweep in" in capsys.readouterr().err


def test_what_is_wrong_is_told_before_anything_is_made(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(SearchError, match="no sweep to resume"):
        Sweep(folder, [setting(data, "a")], resources=IN_PROCESS).run(resume=True)
    for look in (Sweep(folder, [setting(data, "a")]).results, lambda: Sweep.read(folder)):
        with pytest.raises(SearchError, match="no sweep in"):
            look()
    assert not folder.exists()
    with pytest.raises(ConfigError, match="TESTS is empty"):
        check_settings([setting(data, "a", **{"DATASETS.TESTS": ()})])
    with pytest.raises(DatasetError, match="missing"):
        check_settings([setting(data, "a", **{"DATASETS.TESTS": (f"MarketLayout:{tmp_path / 'missing'}",)})])
    with pytest.raises(RegistryError, match="Did you mean GlobalMaxPool"):
        check_settings([setting(data, "a"), setting(data, "b", **{"MODEL.HEADS.POOL_LAYER": "GlobalMaxPol"})])
    with pytest.raises(ConfigError, match=r"trained by tools/search_arch\.py"):
        check_settings([Setting("search", {}, load_config("msinet/search_msmt"))])


def test_figures_of_the_table_are_those_of_the_evaluators(data: Path) -> None:
    plain, retrieval = setting(data, "a"), setting(data, "b", **{"TEST.EVALUATOR": "RetrievalEvaluator"})
    assert choose_metrics([plain], "") == ["mAP", "Rank-1"]
    assert choose_metrics([retrieval], "") == ["mAP", "Recall@1"]
    assert choose_metrics([plain], "mINP, mAP,mINP") == ["mINP", "mAP"]
    with pytest.raises(ConfigError, match="Did you mean mAP"):
        choose_metrics([plain], "mAPP")


def test_a_second_sweep_does_not_write_into_the_first(data: Path, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "out", [setting(data, "a")], num_seeds=1, resources=IN_PROCESS, keep_checkpoints=False)
    sweep.run()
    assert not list((tmp_path / "out").rglob("*.pth"))
    with pytest.raises(SearchError, match="--resume"):
        sweep.run()
    (tmp_path / "out" / "trials.sqlite").unlink()
    with pytest.raises(SearchError, match="--resume"):
        sweep.run()


def test_the_program_ends_in_tables(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
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
    main(["--report", "--metrics", "mINP", "OUTPUT_DIR", str(output)])
    assert "over 2 seeds" in (printed := capsys.readouterr().out) and "mINP" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "at least 1"),
        (["--plot"], "--columns"),
        (["--resume", "--report"], "nothing but OUTPUT_DIR"),
        (["--config-files", "adasp/quickstart", "--report"], "nothing but OUTPUT_DIR"),
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


@pytest.mark.parametrize("option", [["--columns", "BASE_LRR"], ["--metrics", "mAPP"]])
def test_typing_errors_are_told_before_training(
    option: list[str], data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*option, *words(data, tmp_path / "out", "SOLVER.BASE_LR=0.1,0.2")])
    assert "Did you mean" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_config_files_and_keys_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned: list[Any] = []

    def plan(*arguments: Any) -> None:
        planned.append(arguments)
        raise ConfigError("enough")

    monkeypatch.setattr("fastreid_ext.engine.cli.sweep.plan_settings", plan)
    monkeypatch.chdir(tmp_path)
    Path("R50").touch()
    for arguments in (
        ["--config-files", "R50.yml", "R50", "SOLVER.BASE_LR=1e-3", "SEED", "-1e-3"],
        ["--columns", "BASE_LR", "--config-files", "R50.yml", "R50", "--plot", "SOLVER.BASE_LR=1e-3", "SEED", "-1e-3"],
    ):
        with pytest.raises(SystemExit):
            main(arguments)
        assert planned.pop() == (["R50.yml", "R50"], {"SOLVER.BASE_LR": ["1e-3"]}, ["SEED", "-1e-3"])


def test_failed_runs_end_the_program_with_an_error(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        arguments = words(data, tmp_path / "out", "SOLVER.BASE_LR=0.0001,1e30")
        main(["--seeds", "1", "--backend", "in-process", *arguments])
    assert ended.value.code == 1
    printed = capsys.readouterr()
    assert "failed runs: 1" in printed.err
    assert "BASE_LR=1e30" in printed.out and "NonFiniteLossError" in printed.out


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
