"""The programs as a user runs them, in processes of their own."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import options

from fastreid_ext.engine.cli.train import main

ROOT = Path(__file__).resolve().parents[2]
TRAIN = ROOT / "tools" / "train_net.py"


def environment() -> dict[str, str]:
    """One thread, for equal bits in all processes; the bare checkout is found without PYTHONPATH."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {**kept, "OMP_NUM_THREADS": "1"}


def run(*arguments: object, cwd: Path, tool: Path = TRAIN) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(tool), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=300)


def train_options(market: Path, output: Path, **more: Any) -> list[str]:
    return [str(part) for part in options(market, output, **more)]


def weights(output: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(output / "model_final.pth", weights_only=True)["model"]
    return state


def test_kill_9_in_the_middle_then_resume_is_bit_equal(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    market = market_folder()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    epochs = {"SOLVER.MAX_EPOCH": 12, "DATALOADER.NUM_WORKERS": 1}
    assert run(*train_options(market, whole, **epochs), cwd=tmp_path).returncode == 0
    command = [sys.executable, str(TRAIN), *train_options(market, killed, **epochs)]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    # Any moment will do, once there is something to resume from.
    while not (killed / "model_0003.pth").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "model_final.pth").exists()
    resumed = run("--resume", *train_options(market, killed, **epochs), cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed from" in resumed.stdout, resumed.stderr
    one, other = weights(whole), weights(killed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (whole / "results.json").read_text() == (killed / "results.json").read_text()


def test_ctrl_c_saves_and_says_how_to_go_on(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "run"
    arguments = train_options(market_folder(), output, **{"SOLVER.MAX_EPOCH": 500, "SOLVER.CHECKPOINT_PERIOD": 500})
    process = subprocess.Popen(
        [sys.executable, str(TRAIN), *arguments], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (output / "metrics.jsonl").exists() or not (output / "metrics.jsonl").stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "the state is saved, --resume goes on from it" in errors
    assert torch.load(output / "model_interrupted.pth", weights_only=True)["iteration"] > 0


def test_train_then_evaluate_gives_the_same_figures(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    market, output = market_folder(), tmp_path / "run"
    trained = run(*train_options(market, output), cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    table = re.search(r"\| MarketLayout:\S+ +\| +([\d.]+)", trained.stdout)
    again = re.search(r"evaluate again: +python (.*)", trained.stdout)
    assert table is not None and again is not None
    tool, *arguments = shlex.split(again[1])
    evaluated = run(*arguments, cwd=tmp_path, tool=Path(tool))
    assert evaluated.returncode == 0, evaluated.stderr
    first, second = (json.loads((folder / "results.json").read_text()) for folder in (output, output / "evaluation"))
    assert first == second


def test_cross_domain_and_several_test_sets(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    source, target = market_folder("source"), market_folder("target", seed=5, cameras=3)
    output = tmp_path / "run"
    tests = (f"MarketLayout:{source}", f"MarketLayout:{target}")
    finished = run(*train_options(source, output, **{"DATASETS.TESTS": tests}), cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert list(json.loads((output / "results.json").read_text())) == list(tests)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"SOLVER.MAX_EPOCHS": 3}, r"error: unknown config key SOLVER.MAX_EPOCHS .* Did you mean SOLVER.MAX_EPOCH"),
        ({"MODEL.LOSSES.NAME": "TripletLos"}, r"error: unknown loss 'TripletLos'. Did you mean TripletLoss"),
        ({"MODEL.BACKBONE.NAME": "build_resnt_backbone"}, r"unknown backbone .* Did you mean build_resnet_backbone"),
        ({"DATASETS.NAMES": "Market1502"}, r"unknown data set 'Market1502'. Did you mean Market1501"),
        ({"DATASETS.NAMES": "Market1501"}, r"(?s)not found: .*Market-1501-v15.09.15.*Expected layout:.*bounding_box"),
        ({"DATASETS.NAMES": "MarketLayout:/nowhere"}, r"/nowhere.*Expected layout"),
        ({"SOLVER.OPT": "Adamm"}, r"unknown optimizer 'Adamm' in SOLVER.OPT. Did you mean Adam"),
        ({"SOLVER.IMS_PER_BATCH": 64}, r"needs 32 identities a batch .* the training data have 8: lower IMS_PER_BATCH"),
        ({"MODEL.WEIGHTS": "/nowhere.pth"}, r"error: no checkpoint /nowhere.pth"),
        ({"MODEL.DEVICE": "cuda:99"}, r"MODEL.DEVICE is cuda:99, but torch sees .* set MODEL.DEVICE to cpu or auto"),
        ({"MODEL.BACKBONE.PRETRAIN": True, "MODEL.BACKBONE.PRETRAIN_PATH": "/gone.pth"}, r"error: .*/gone.pth"),
    ],
)
def test_errors_are_sentences(
    more: dict[str, Any],
    message: str,
    market_folder: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In this process: a program of its own takes seconds to start, and other tests have some."""
    with pytest.raises(SystemExit) as ended:
        main(train_options(market_folder(), tmp_path / "run", **more))
    assert ended.value.code == 1
    errors = capsys.readouterr().err
    assert re.search(message, errors.replace("\n", " "))
    assert "Traceback" not in errors


def test_evaluation_fails_at_its_end_with_the_unreadable_images(
    market_folder: Callable[..., Path], tmp_path: Path
) -> None:
    market, output = market_folder(), tmp_path / "run"
    assert run(*train_options(market, output), cwd=tmp_path).returncode == 0
    bad = sorted((market / "bounding_box_test").iterdir())[0]
    bad.write_bytes(bad.read_bytes()[:200])
    again = ["--config-file", output / "config.yaml", "--eval-only", "MODEL.WEIGHTS", output / "model_final.pth"]
    failed = run(*again, cwd=tmp_path)
    assert failed.returncode == 1
    assert f"1 test images cannot be read: {bad}" in re.sub(r"\s+", " ", failed.stderr)
    assert "TEST.SKIP_UNREADABLE True" in failed.stderr
    passed = run(*again, "TEST.SKIP_UNREADABLE", "True", cwd=tmp_path)
    assert passed.returncode == 0, passed.stderr
    (metrics,) = json.loads((output / "results.json").read_text()).values()
    assert metrics["unreadable"] == [str(bad)]


def test_list_prints_what_exists(tmp_path: Path) -> None:
    listed = run("--list", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    for name in ("MSINet", "build_resnet_backbone", "TripletLoss", "SynthReID", "CosineAnnealingLR", "msinet/msmt"):
        assert name in listed.stdout
    assert "timm:<name>" in run("--list", "backbones", cwd=tmp_path).stdout


def test_validate_data(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    market, tool = market_folder(), ROOT / "tools" / "validate_data.py"
    good = run(f"MarketLayout:{market}", "--decode", cwd=tmp_path, tool=tool)
    assert good.returncode == 0, good.stdout + good.stderr
    (market / "query" / "0099_c1s1_000000_00.jpg").write_bytes(b"")
    bad = run(f"MarketLayout:{market}", "--decode", cwd=tmp_path, tool=tool)
    assert bad.returncode == 1
    assert "0099_c1s1_000000_00.jpg" in bad.stdout


def test_two_processes_with_a_project(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "run"
    project = {"PROJECTS": "['msinet']", "MODEL.BACKBONE.NAME": "MSINet", "MODEL.HEADS.NAME": "TwoBranchHead"}
    arguments = train_options(market_folder(), output, **project, **{"SOLVER.MAX_EPOCH": 1})
    finished = run("--num-gpus", 2, *arguments, cwd=tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert (output / "model_final.pth").is_file() and (output / "log.rank1.txt").is_file()


def test_an_error_in_two_processes_is_a_sentence(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    failed = run(
        "--num-gpus", 2, *train_options(market_folder(), tmp_path / "run", **{"SOLVER.OPT": "Adamm"}), cwd=tmp_path
    )
    assert failed.returncode == 1
    assert "error: unknown optimizer 'Adamm'" in failed.stderr and "Traceback" not in failed.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_sigterm_to_all_processes_saves(processes: int, market_folder: Callable[..., Path], tmp_path: Path) -> None:
    output = tmp_path / "run"
    more = {"SOLVER.MAX_EPOCH": 500, "SOLVER.CHECKPOINT_PERIOD": 500, "DATALOADER.NUM_WORKERS": 1}
    command = [
        sys.executable,
        str(TRAIN),
        "--num-gpus",
        str(processes),
        *train_options(market_folder(), output, **more),
    ]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not (output / "metrics.jsonl").exists() or not (output / "metrics.jsonl").stat().st_size:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    # As Ctrl-C on a terminal, and as cluster managers do: the whole group, decoding workers included.
    os.killpg(process.pid, signal.SIGINT if processes == 2 else signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "the state is saved" in errors
    assert torch.load(output / "model_interrupted.pth", weights_only=True)["iteration"] > 0


def test_a_disk_that_is_really_full(market_folder: Callable[..., Path], tmp_path: Path) -> None:
    # The limit of a file's size is what a test can have of a full disk: room for logs, not for a checkpoint.
    limited = (
        "import resource, signal, sys\n"
        "from fastreid_ext.engine.cli.train import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "main(sys.argv[1:])\n"
    )
    output = tmp_path / "run"
    command = [sys.executable, "-c", limited, *train_options(market_folder(), output)]
    env = {**environment(), "PYTHONPATH": str(ROOT)}
    failed = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert "checkpoint of epoch 1 not saved" in failed.stdout
    assert failed.returncode == 1 and "error: cannot write" in failed.stderr
    assert not list(output.glob("*.pth")) and not list(output.glob(".*.tmp"))
