"""Workers on a Ray cluster of this machine."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from toys import Planned, ScoreFactory

from fastreid_ext.search.backends import RayBackend, build_backend, ray_cluster
from fastreid_ext.search.driver import Search
from fastreid_ext.search.errors import SearchError, SearchStopped
from fastreid_ext.search.protocols import Job
from fastreid_ext.search.trials import TrialStore


@pytest.fixture(scope="module")
def backend() -> Iterator[RayBackend]:
    """One cluster for all tests: it takes seconds to start."""
    with build_backend("ray", ScoreFactory(), workers=2, cpus_per_trial=1, time_limit=8) as made:
        assert isinstance(made, RayBackend)
        yield made


def test_bad_candidates_and_lost_workers_do_not_end_a_search(backend: RayBackend, tmp_path: Path) -> None:
    plan = Planned(
        [
            {"do": "facts"},
            {"do": "die once", "file": str(tmp_path / "died"), "x": 0.5},
            {"do": "exit"},
            {"do": "nan"},
            {"do": "sleep"},
            {"x": 0.5},
        ]
    )
    with TrialStore.create(tmp_path / "trials.sqlite") as store:
        Search(store, plan, backend, metric="mAP", seed=3, max_evaluations=6).run()
        trials = list(store.trials())
    states = [trial.state for trial in trials]
    assert states == ["evaluated", "evaluated", "failed", "failed", "failed", "evaluated"]
    assert [trial.attempts for trial in trials] == [1, 2, 2, 1, 1, 1]
    assert trials[0].scores["threads"] == 1 and trials[0].scores["pid"] != os.getpid()
    assert trials[2].reason.startswith("the worker was lost: ActorDiedError: ")
    assert trials[3].reason == "ArithmeticError: mAP is nan"
    assert trials[4].reason == "time limit of 8 s"
    assert {trial.worker for trial in trials} == {"ray 1", "ray 2"}


def test_worker_killed_from_outside_is_lost_and_replaced(backend: RayBackend) -> None:
    backend.submit(Job(1, {"do": "facts"}, 0))
    (facts,) = backend.wait()
    threading.Timer(0.5, os.kill, (int(facts.scores["pid"]), signal.SIGKILL)).start()
    for number in (2, 3):
        backend.submit(Job(number, {"do": "sleep"}, 0))
    outcomes = []
    while len(outcomes) < 2:
        outcomes += backend.wait()
    assert [outcome.lost for outcome in outcomes] == [True, False]
    assert backend.wait(0.1) == []


def test_signal_stops_the_wait_for_ray(backend: RayBackend, tmp_path: Path) -> None:
    with TrialStore.create(tmp_path / "trials.sqlite") as store:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
        start = time.monotonic()
        with pytest.raises(SearchStopped):
            Search(store, Planned([{"do": "sleep"}]), backend, metric="mAP").run()
        assert time.monotonic() - start < 7
        assert [trial.attempts for trial in store.waiting()] == [0]
    assert [outcome.number for outcome in backend.wait()] == [1]


def test_problem_of_an_evaluator_is_told() -> None:
    from ray import cloudpickle

    def problem(factory: bytes) -> str:
        return ray_cluster._Actor(factory, "ray 1", 0).prepare()

    assert problem(cloudpickle.dumps(ScoreFactory())) == ""
    assert problem(cloudpickle.dumps(ScoreFactory(broken="raise"))) == "FileNotFoundError: no data at /nowhere"
    unknown = cloudpickle.dumps(ScoreFactory()).replace(b"toys", b"yots")
    assert problem(unknown) == "ModuleNotFoundError: No module named 'yots'"


def test_too_small_cluster_is_told(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("fastreid_ext").propagate = True
    ray_cluster._warn_of_waiting({"CPU": 4.0}, {"CPU": 4, "GPU": 0})
    assert not caplog.records
    ray_cluster._warn_of_waiting({"CPU": 4.0}, {"CPU": 2, "GPU": 0.5})
    assert "wanted 2 CPUs, 4 are free; 0.5 GPUs, 0 are free" in caplog.text


def test_nobody_at_an_address_is_told_at_once() -> None:
    for address in ("127.0.0.1:1", "127.0.0.1:port"):
        with pytest.raises(SearchError, match=f"no Ray cluster at {address}: "):
            ray_cluster._check_address(address)
    for elsewhere in ("", "auto", "ray://somewhere:1"):
        ray_cluster._check_address(elsewhere)


def test_no_cluster_at_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(**options: object) -> None:
        raise ConnectionError("could not connect to 'somewhere:1'")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(SearchError, match=r"no Ray cluster at 'somewhere:1' .* start one by"):
        ray_cluster._connect(ray, "somewhere:1", cpus=1)
