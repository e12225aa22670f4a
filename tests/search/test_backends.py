"""Workers, good and bad."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import ScoreFactory

from fastreid_ext.registry import RegistryError
from fastreid_ext.search.backends import InProcessBackend, ProcessBackend, build_backend
from fastreid_ext.search.backends.devices import worker_variables
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.protocols import Job, Outcome


def evaluate(backend: Any, *candidates: dict[str, Any], seconds: float = 30) -> dict[int, Outcome]:
    """The outcomes by number of jobs that are given out as workers become free."""
    jobs = [Job(number, candidate, 11) for number, candidate in enumerate(candidates)]
    outcomes: dict[int, Outcome] = {}
    end, running = time.monotonic() + seconds, 0
    while len(outcomes) < len(candidates):
        while jobs and running < backend.capacity:
            backend.submit(jobs.pop(0))
            running += 1
        for outcome in backend.wait(1.0):
            outcomes[outcome.number] = outcome
            running -= 1
        assert time.monotonic() < end
    return outcomes


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_until(condition: Any, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessBackend]:
    with ProcessBackend(ScoreFactory(), workers=2, cpus_per_trial=1, time_limit=1.0) as backend:
        assert isinstance(backend, ProcessBackend)
        yield backend


BAD = [{"do": do} for do in ("raise", "memory", "allocate", "nan")]


def check_bad(outcomes: dict[int, Outcome]) -> None:
    errors = [outcomes[number].error for number in range(4)]
    assert errors[0] == "ValueError: no such loss"
    assert errors[1] == "out of memory (MemoryError)"
    assert errors[2].startswith("out of memory (RuntimeError: ")
    assert errors[3] == "ArithmeticError: mAP is nan"
    assert not any(outcome.lost or outcome.scores for number, outcome in outcomes.items() if number < 4)
    assert outcomes[4].scores == {"mAP": 1.0, "seed": 11} and not outcomes[4].error


def test_bad_candidates_are_errors_in_process() -> None:
    check_bad(evaluate(InProcessBackend(ScoreFactory()), *BAD, {"x": 0.5}))


def test_bad_candidates_are_errors_in_processes(processes: ProcessBackend) -> None:
    outcomes = evaluate(processes, *BAD, {"x": 0.5})
    check_bad(outcomes)
    assert {outcome.worker for outcome in outcomes.values()} <= {"process 1", "process 2"}


def test_evaluations_in_process_leave_random_numbers_and_threads_alone() -> None:
    backend = InProcessBackend(ScoreFactory(), cpus_per_trial=2)
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first, second = (evaluate(backend, {"do": "facts"})[0].scores for _ in range(2))
    assert torch.equal(torch.rand(3), expected)
    assert first["random"] == second["random"]
    assert first["threads"] == 2 and torch.get_num_threads() == 1


def test_workers_are_seeded_have_their_threads_and_are_kept(processes: ProcessBackend) -> None:
    facts = [outcome.scores for outcome in evaluate(processes, *[{"do": "facts"}] * 6).values()]
    assert {fact["threads"] for fact in facts} == {1}
    assert len({fact["random"] for fact in facts}) == 1
    pids = {fact["pid"] for fact in facts}
    assert len(pids) <= 2 and os.getpid() not in pids


@pytest.mark.parametrize(("do", "how"), [("exit", "it ended with code 3"), ("kill", "killed by signal 9")])
def test_dead_worker_is_lost_and_replaced(processes: ProcessBackend, do: str, how: str) -> None:
    outcomes = evaluate(processes, {"do": do}, {"x": 0.5}, {"x": 0.5})
    assert outcomes[0].lost and outcomes[0].error == f"the worker was lost: {how}"
    assert outcomes[1].scores["mAP"] == outcomes[2].scores["mAP"] == 1.0


def test_late_worker_is_ended_with_its_children(processes: ProcessBackend, tmp_path: Path) -> None:
    evaluate(processes, {}, {})
    start = time.monotonic()
    outcomes = evaluate(processes, {"do": "child", "file": str(tmp_path / "pid")}, {"x": 0.5})
    assert outcomes[0].error == "time limit of 1 s" and not outcomes[0].lost
    assert 1.0 <= outcomes[0].duration < 10 and time.monotonic() - start < 30
    assert outcomes[1].scores["mAP"] == 1.0
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: not alive(child))


def test_waiting_ends_with_the_time_or_without_jobs(processes: ProcessBackend) -> None:
    evaluate(processes, {}, {})
    start = time.monotonic()
    assert processes.wait(None) == []
    processes.submit(Job(5, {"do": "sleep"}, 0))
    assert processes.wait(0.0) == []
    assert processes.wait(0.1) == []
    assert 0.1 <= time.monotonic() - start < 10
    assert [outcome.error for outcome in processes.wait()] == ["time limit of 1 s"]


def test_outcome_is_there_at_once(processes: ProcessBackend) -> None:
    evaluate(processes, {}, {})
    start = time.perf_counter()
    evaluate(processes, *[{"x": 0.5}] * 100)
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize(
    ("broken", "message"),
    [("raise", "cannot be prepared: FileNotFoundError: no data"), ("exit", "it ended with code 5")],
)
def test_evaluator_that_cannot_be_made_ends_the_search(broken: str, message: str) -> None:
    with ProcessBackend(ScoreFactory(broken=broken)) as backend, pytest.raises(SearchError, match=message):
        assert isinstance(backend, ProcessBackend)
        evaluate(backend, {})


def test_evaluator_that_cannot_be_made_in_process() -> None:
    with pytest.raises(SearchError, match="cannot be prepared: FileNotFoundError: no data"):
        evaluate(InProcessBackend(ScoreFactory(broken="raise")), {})


def test_evaluator_that_cannot_be_sent() -> None:
    with pytest.raises(SearchError, match="cannot be sent"):
        ProcessBackend(lambda: ScoreFactory()())


def test_closing_ends_busy_workers() -> None:
    with ProcessBackend(ScoreFactory(), workers=2) as backend:
        assert isinstance(backend, ProcessBackend)
        pids = {int(outcome.scores["pid"]) for outcome in evaluate(backend, {"do": "facts"}, {"do": "facts"}).values()}
        backend.submit(Job(0, {"do": "sleep"}, 0))
        start = time.monotonic()
    assert time.monotonic() - start < 30
    assert not any(alive(pid) for pid in pids)
    backend.close()


def test_workers_end_when_their_driver_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from toys import ScoreFactory\n"
        "from fastreid_ext.search.backends import ProcessBackend\n"
        "from fastreid_ext.search.protocols import Job\n"
        "backend = ProcessBackend(ScoreFactory(), workers=1)\n"
        "backend.submit(Job(1, {'do': 'child', 'file': sys.argv[1]}, 0))\n"
        "backend.wait(0.1); print(backend._slots[0].handle.process.pid, flush=True); backend.wait()"
    )
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    file = tmp_path / "pid"
    driver = subprocess.Popen(
        [sys.executable, "-c", code, str(file)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert driver.stdout is not None
    worker = int(driver.stdout.readline())
    wait_until(lambda: file.exists() and file.read_text())
    child = int(file.read_text())
    assert alive(worker) and alive(child)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    wait_until(lambda: not alive(worker) and not alive(child), 5)


def test_gpus_are_given_out_by_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def given(gpus: float, workers: int) -> list[str]:
        return [worker_variables(i, cpus=0, gpus=gpus)["CUDA_VISIBLE_DEVICES"] for i in range(workers)]

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    assert given(1, 4) == ["4", "5", "6", "7"]
    assert given(2, 2) == ["4,5", "6,7"]
    assert given(0.5, 4) == ["4", "4", "5", "5"]
    assert given(0.3, 4) == ["4", "4", "4", "5"]
    assert worker_variables(9, cpus=3, gpus=0) == {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3"}
    with pytest.raises(SearchError, match="worker 3 needs GPU 6, and 4 are visible"):
        given(2, 3)
    with pytest.raises(SearchError, match="whole number"):
        given(1.5, 1)


def test_backends_by_name() -> None:
    with build_backend("in-process", ScoreFactory()) as backend:
        assert isinstance(backend, InProcessBackend)
    with pytest.raises(RegistryError, match="Did you mean processes"):
        build_backend("process", ScoreFactory())
