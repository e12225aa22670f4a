"""The search as a whole on a tiny proxy task, and its parts that are no strategy."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.data.build import build_train_data
from fastreid_ext.engine.cli.search_loss import main
from fastreid_ext.engine.searches import SearchResources
from fastreid_ext.engine.trainer import DefaultTrainer
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.meta_arch import ReIDModel
from fastreid_ext.projects.gms import AutoLossGMS
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.presets import HAND_CRAFTED, PRESETS
from fastreid_ext.projects.gms.search import proxy
from fastreid_ext.projects.gms.search.chooser import ConfiguredChooser
from fastreid_ext.projects.gms.search.grid import baseline_grid
from fastreid_ext.projects.gms.search.proxy import ProxyTask, TimeLimitError
from fastreid_ext.projects.gms.search.split import proxy_split
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.protocols import Job
from fastreid_ext.search.trials import TrialStore

ROOT = Path(__file__).resolve().parents[3]
MarketFolder = Callable[..., Path]


@pytest.fixture
def options(market_folder: MarketFolder, tmp_path: Path) -> list[Any]:
    """Of a search whose proxy task takes a fraction of a second."""
    data = market_folder()
    values = {
        "PROJECTS": ["gms"],
        "DATASETS.NAMES": (f"MarketLayout:{data}",),
        "DATASETS.TESTS": (f"MarketLayout:{data}",),
        "OUTPUT_DIR": str(tmp_path / "out"),
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.NAME": "build_osnet_backbone",
        "MODEL.BACKBONE.DEPTH": "x0_25",
        "MODEL.BACKBONE.FEAT_DIM": 128,
        "MODEL.HEADS.CLS_LAYER": "GMSSoftmax",
        "INPUT.SIZE_TRAIN": [32, 16],
        "INPUT.SIZE_TEST": [32, 16],
        "DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler",
        "DATALOADER.NUM_INSTANCE": 2,
        "DATALOADER.NUM_WORKERS": 1,
        "SOLVER.IMS_PER_BATCH": 4,
        "SOLVER.MAX_EPOCH": 1,
        "SOLVER.WARMUP_ITERS": 0,
        "SEARCH.LOSS.TRAIN_SHARE": 0.5,
        "SEARCH.LOSS.NUM_INITIAL": 3,
        "SEARCH.LOSS.MAX_EVALUATIONS": 5,
        "SEARCH.LOSS.TRAIN_CONFIG": "gms/quickstart",
    }
    return [part for pair in values.items() for part in pair]


IN_PROCESS = SearchResources(backend="in-process")


def trials(options: list[Any]) -> list[Any]:
    with TrialStore.read(Path(load_config("", options).OUTPUT_DIR) / "trials.sqlite") as store:
        return [(t.number, t.state, t.proposal, t.score, t.reason) for t in store.trials()]


def test_a_search_leaves_its_trials_a_report_and_a_config_that_trains(options: list[Any], tmp_path: Path) -> None:
    search = AutoLossGMS(load_config("", options), resources=IN_PROCESS)
    search.run()
    rows = trials(options)
    assert sum(state in ("evaluated", "failed") for _, state, *_ in rows) == 5
    assert {row[1] for row in rows} <= {"evaluated", "rejected", "duplicate", "failed"}
    assert rows[0][2].candidate == HAND_CRAFTED["softmax"].to_json() and rows[0][2].mutation == "predefined"
    best = max((row for row in rows if row[1] == "evaluated"), key=lambda row: (row[3], -row[0]))
    trained = load_config(str(tmp_path / "out/train.yml"), ["MODEL.DEVICE", "cpu"])
    found = Candidate.from_json(best[2].candidate)
    assert (str(found.target), str(found.nontarget)) == (trained.MODEL.GMS.TARGET, trained.MODEL.GMS.NONTARGET)
    assert found.log2_scale == trained.MODEL.GMS.LOG2_SCALE and trained.INPUT.SIZE_TRAIN == [64, 32]
    assert trained.MODEL.BACKBONE.DEPTH == "18x" and list(trained.DATASETS.NAMES) == list(search.cfg.DATASETS.NAMES)
    page = (tmp_path / "out/report.html").read_text(encoding="utf-8")
    assert "<math" in page and f"#{best[0]}" in page
    assert str(found.target)[:40] in search.report() and "train it:" in search.report()


def test_what_was_found_trains(options: list[Any], tmp_path: Path) -> None:
    AutoLossGMS(load_config("", [*options, "SEARCH.LOSS.MAX_EVALUATIONS", 1]), resources=IN_PROCESS).run()
    short = ["MODEL.DEVICE", "cpu", "SOLVER.MAX_EPOCH", 1, "SOLVER.IMS_PER_BATCH", 4, "INPUT.SIZE_TRAIN", [32, 16]]
    short += ["INPUT.SIZE_TEST", [32, 16], "DATALOADER.NUM_INSTANCE", 2, "SOLVER.WARMUP_ITERS", 0]
    trainer = DefaultTrainer(load_config(str(tmp_path / "out/train.yml"), short))
    assert 0 < next(iter(trainer.train().values()))["mAP"] <= 100


def test_same_seed_same_candidates_also_when_interrupted(options: list[Any], tmp_path: Path) -> None:
    AutoLossGMS(load_config("", options), resources=IN_PROCESS).run()
    whole = trials(options)
    parted = [*options, "OUTPUT_DIR", str(tmp_path / "parted")]
    AutoLossGMS(load_config("", [*parted, "SEARCH.LOSS.MAX_EVALUATIONS", 2]), resources=IN_PROCESS).run()
    AutoLossGMS(load_config("", parted), resources=IN_PROCESS).run(resume=True)
    assert trials(parted) == whole


def test_a_killed_search_repeats_at_most_what_was_in_flight(options: list[Any], tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "tools/search_loss.py"), "--workers", "2"]
    words = [str(word) for word in [*options, "SEARCH.LOSS.MAX_EVALUATIONS", 8, "SEARCH.LOSS.NUM_INITIAL", 4]]
    process = subprocess.Popen([*command, *words], env={**os.environ, "OMP_NUM_THREADS": "1"})
    path = tmp_path / "out/trials.sqlite"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.2)
        if path.exists() and path.stat().st_size and any(row[1] == "evaluated" for row in trials(options)):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = trials(options)
    in_flight = [row for row in before if row[1] == "waiting"]
    assert any(row[1] == "evaluated" for row in before) and len(in_flight) <= 3
    subprocess.run([*command, "--resume", *words], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    after = trials(options)
    kept = [row for row in before if row[1] != "waiting"]
    assert [row for row in after if row[0] in {number for number, *_ in kept}] == kept
    assert sum(row[1] in ("evaluated", "failed") for row in after) == 8
    with TrialStore.read(path) as store:
        assert {t.number for t in store.trials() if t.attempts > 1} <= {row[0] for row in in_flight}


def test_baselines_are_evaluated_once_and_shown(options: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    grid = [(PRESETS["softmax"], "softmax log2 s=4"), (PRESETS["circle"], "circle m=0.25 log2 s=6")]
    monkeypatch.setattr("fastreid_ext.projects.gms.search.loss_search.baseline_grid", lambda: grid)
    search = AutoLossGMS(load_config("", options), resources=IN_PROCESS)
    table = search.run_baselines()
    assert "softmax log2 s=4" in table and "circle m=0.25 log2 s=6" in table
    before = search.baselines()
    search.run_baselines()
    assert search.baselines() == before and set(before) == {name for _, name in grid}
    search.run()
    assert "circle m=0.25 log2 s=6" in search.report()


def test_grid_has_each_hand_crafted_loss_with_several_scales() -> None:
    names = [name for _, name in baseline_grid()]
    assert len(names) == len(set(names)) == 45
    assert {name.split()[0] for name in names} == {"softmax", "cosface", "arcface", "circle"}


def test_a_training_that_goes_astray_is_a_failed_trial(options: list[Any]) -> None:
    astray = ["SOLVER.OPT", "SGD", "SOLVER.BASE_LR", 1e30, "SEARCH.LOSS.MAX_EVALUATIONS", 3]
    search = AutoLossGMS(load_config("", [*options, *astray]), resources=IN_PROCESS)
    search.run()
    failed = [row for row in trials(options) if row[1] == "failed"]
    assert len(failed) == 3 and all(row[4] for row in failed)
    assert "3 failed" in search.report() and f"the last failure: trial {failed[-1][0]}, " in search.report()


def test_a_trial_has_a_time_limit(options: list[Any]) -> None:
    task = ProxyTask(load_config("", [*options, "SEARCH.LOSS.TIME_LIMIT", 1e-9]))
    with pytest.raises(TimeLimitError, match="1 steps were done"):
        task(Job(1, PRESETS["softmax"].to_json(), 0))


def test_a_trial_depends_on_its_seed_alone(options: list[Any]) -> None:
    task = ProxyTask(load_config("", options))
    first = task(Job(1, PRESETS["gms-a"].to_json(), 3))
    torch.rand(5)
    assert task(Job(2, PRESETS["gms-a"].to_json(), 3)) == first


def test_a_trial_trains_with_its_loss(options: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    monkeypatch.setattr(
        "fastreid_ext.projects.gms.search.proxy.build_model", lambda cfg: built.append(build_model(cfg)) or built[-1]
    )
    ProxyTask(load_config("", options))(Job(3, PRESETS["circle"].to_json(), 3))
    (model,) = built
    assert model.heads.cls_layer.candidate == PRESETS["circle"] and len(model.heads.weight) == 4


def test_a_trial_takes_its_rate_from_the_data_and_moves_what_follows_the_weights(
    options: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[float] = []
    followed: list[float] = []
    build = proxy.build_optimizer

    def remembered(cfg: CfgNode, model: torch.nn.Module) -> torch.optim.Optimizer:
        rates.append(cfg.SOLVER.BASE_LR)
        return build(cfg, model)

    monkeypatch.setattr(proxy, "build_optimizer", remembered)
    monkeypatch.setattr(ReIDModel, "after_step", lambda model, progress: followed.append(progress))
    ProxyTask(load_config("", [*options, "SOLVER.BASE_LR", "auto"]))(Job(1, PRESETS["circle"].to_json(), 1))
    assert rates == [pytest.approx(0.001 * load_config("", options).SOLVER.IMS_PER_BATCH / 256)]
    assert followed and followed[-1] == 1.0


def test_split_divides_identities(options: list[Any]) -> None:
    data = build_train_data(load_config("", options))
    train, validation = proxy_split(data, 0.5, seed=1)
    of_train, of_validation = {s.path for s in train.samples}, {s.path for s in validation.query}
    assert not of_train & of_validation and of_train | of_validation == {s.path for s in data.samples}
    pid_of = {sample.path: sample.pid for sample in data.samples}
    assert not {pid_of[path] for path in of_train} & {pid_of[path] for path in of_validation}
    assert {s.pid for s in train.samples} == set(
        range(train.num_classes)
    ) and train.num_classes == data.num_classes // 2
    assert validation.gallery == validation.query and validation.protocol.query_is_gallery
    again, _ = proxy_split(data, 0.5, seed=1)
    assert again.samples == train.samples


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_too_few_identities(options: list[Any], share: float) -> None:
    with pytest.raises(ConfigError, match=f"SEARCH.LOSS.TRAIN_SHARE {share} of . identities leaves"):
        ProxyTask(load_config("", [*options, "SEARCH.LOSS.TRAIN_SHARE", share]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["SEARCH.LOSS.TOURNAMENT", 0.0], "SEARCH.LOSS.TOURNAMENT is 0.0; it must be above 0"),
        (["SEARCH.LOSS.CONSTANT_STEP", -1.0], "SEARCH.LOSS.CONSTANT_STEP is -1.0"),
        (["SEARCH.LOSS.SCALE_STEPS", 100], "SEARCH.LOSS.SCALE_STEPS is 100"),
        (["SEARCH.LOSS.TRAIN_CONFIG", "gms/markt"], "SEARCH.LOSS.TRAIN_CONFIG cannot be used"),
        (["MODEL.LOSSES.NAME", ("TripletLoss",)], "CrossEntropyLoss"),
        (["SEARCH.LOSS.METRIC", "mapp"], "SEARCH.LOSS.METRIC is 'mapp'. Did you mean mAP"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(options: list[Any], changes: list[Any], message: str) -> None:
    with pytest.raises((ConfigError, SearchError), match=message):
        AutoLossGMS(load_config("", [*options, *changes]), resources=IN_PROCESS).run()


def test_a_search_is_neither_overwritten_nor_mixed(options: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(word) for word in [*options, "SEARCH.LOSS.MAX_EVALUATIONS", 1]]
    arguments = ["--backend", "in-process"]
    main([*arguments, *words])
    for more, message in (
        ([], "continue it with --resume"),
        (["--resume", "SOLVER.BASE_LR", "0.5"], "SOLVER.BASE_LR was 0.0003, is 0.5"),
    ):
        options_first = [word for word in more if word.startswith("--")]
        keys = [word for word in more if not word.startswith("--")]
        with pytest.raises(SystemExit) as ended:
            main([*arguments, *options_first, *words, *keys])
        assert ended.value.code == 1 and message in capsys.readouterr().err


def test_damaged_and_foreign_files_are_refused(options: list[Any], tmp_path: Path, capsys: Any) -> None:
    words = [str(word) for word in options]
    path = tmp_path / "out/trials.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"no database at all" * 100)
    for arguments in (["--resume"], ["--report"]):
        with pytest.raises(SystemExit):
            main([*arguments, *words])
        assert "trials.sqlite" in capsys.readouterr().err


def test_nothing_to_resume_or_report(options: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(word) for word in options]
    for arguments in (["--resume"], ["--report"], ["--predictor-quality"]):
        with pytest.raises(SystemExit):
            main([*arguments, *words])
        assert "trials.sqlite" in capsys.readouterr().err


def test_report_of_a_search_that_has_ended(options: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = [str(word) for word in [*options, "SEARCH.LOSS.MAX_EVALUATIONS", 2]]
    main(["--backend", "in-process", *words])
    page = Path(load_config("", options).OUTPUT_DIR) / "report.html"
    page.unlink()
    main(["--report", *words])
    assert page.is_file() and "report.html" in capsys.readouterr().out


def test_config_file_is_that_of_the_search(options: list[Any], tmp_path: Path) -> None:
    AutoLossGMS(load_config("", [*options, "SEARCH.LOSS.MAX_EVALUATIONS", 1]), resources=IN_PROCESS).run()
    written = yaml.safe_load((tmp_path / "out/config.yaml").read_text(encoding="utf-8"))
    assert written["SEARCH"]["LOSS"]["MAX_EVALUATIONS"] == 1


def test_the_predictor_chooses_once_there_are_evaluations(options: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    node = "SEARCH.LOSS.PREDICTOR"
    few = [f"{node}.START", 2, f"{node}.INTERVAL", 1, f"{node}.CANDIDATES", 2, f"{node}.EPOCHS", 1, f"{node}.BATCH", 2]
    cfg = load_config("", [*options, *few, "SEARCH.LOSS.NUM_INITIAL", 2, "SEARCH.LOSS.MAX_EVALUATIONS", 4])
    AutoLossGMS(cfg, resources=IN_PROCESS).run()
    chosen = [row for row in trials(options) if row[4] == "chooser: another of 2 is more promising"]
    assert len(chosen) == 2 and not [record for record in caplog.records if record.levelname == "WARNING"]


def test_the_quality_is_that_of_the_configured_predictor(options: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    node = "SEARCH.LOSS.PREDICTOR"
    cfg = load_config("", [*options, f"{node}.BASE_LR", 0.5, f"{node}.TEMPERATURE", 9.0, f"{node}.EPOCHS", 7])
    AutoLossGMS(cfg, resources=IN_PROCESS).run()
    asked: dict[str, Any] = {}

    def stand_in(vectors: Any, performances: Any, **more: Any) -> list[Any]:
        made = more["make_predictor"](seed=5, epochs=more["epochs"], device="cpu")
        asked.update(made=made, performances=performances, size=len(vectors[0]))
        return []

    monkeypatch.setattr("fastreid_ext.projects.gms.search.quality.predictor_quality", stand_in)
    AutoLossGMS(cfg).measure_predictor()
    made = asked["made"]
    assert (made.learning_rate, made.temperature, made.epochs, made.seed) == (0.5, 9.0, 7, 5)
    assert asked["size"] == 515 and all(0 <= value <= 1 for value in asked["performances"])


def test_scores_that_are_no_percentages_are_refused(options: list[Any]) -> None:
    chooser = ConfiguredChooser(load_config("", options))
    with pytest.raises(SearchError, match=r"SEARCH\.LOSS\.METRIC mAP is 250"):
        chooser.offer({}, np.zeros(515), [(np.zeros(515), 250.0)])


def test_baselines_of_another_task_are_not_mixed_in(options: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastreid_ext.projects.gms.search.loss_search.baseline_grid", lambda: baseline_grid()[:1])
    AutoLossGMS(load_config("", options), resources=IN_PROCESS).run()
    kept = (Path(load_config("", options).OUTPUT_DIR) / "config.yaml").read_text(encoding="utf-8")
    other = AutoLossGMS(load_config("", [*options, "SOLVER.BASE_LR", 0.5]), resources=IN_PROCESS)
    for action in (other.run_baselines, other.write_report, other.report, other.measure_predictor):
        with pytest.raises(ConfigError, match=r"SOLVER\.BASE_LR was 0\.0003, is 0\.5"):
            action()
    AutoLossGMS(load_config("", options), resources=IN_PROCESS).run_baselines()
    assert (Path(load_config("", options).OUTPUT_DIR) / "config.yaml").read_text(encoding="utf-8") == kept


def test_an_empty_file_is_no_search(options: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "out/trials.sqlite"
    path.parent.mkdir()
    path.touch()
    search = AutoLossGMS(load_config("", [*options, "SEARCH.LOSS.MAX_EVALUATIONS", 1]), resources=IN_PROCESS)
    with pytest.raises(SearchError, match="start it without --resume"):
        search.run(resume=True)
    search.run()
    assert len(trials(options)) == 1


def test_unreadable_training_images_are_told(options: list[Any]) -> None:
    folder = Path(load_config("", options).DATASETS.NAMES[0].partition(":")[2]) / "bounding_box_train"
    for pid in range(1, 9):
        (folder / f"{pid:04d}_c1s1_000000_00.jpg").write_bytes(b"no picture")
    search = AutoLossGMS(
        load_config("", [*options, "SEARCH.LOSS.MAX_EVALUATIONS", 1, "TEST.SKIP_UNREADABLE", True]),
        resources=IN_PROCESS,
    )
    search.run()
    assert "4 training images could not be read and were replaced by others" in search.report()


def test_workers_that_cannot_be_had_leave_no_file(options: list[Any], tmp_path: Path) -> None:
    nowhere = SearchResources(backend="ray", address="127.0.0.1:1")
    with pytest.raises(SearchError, match=r"no Ray cluster at 127\.0\.0\.1:1"):
        AutoLossGMS(load_config("", options), resources=nowhere).run()
    assert not (tmp_path / "out/trials.sqlite").exists()
