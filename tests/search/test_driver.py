"""The loop of a search: the same however often it is killed."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toys import Climber, Planned, ScoreFactory

from fastreid_ext.search.backends import InProcessBackend, ProcessBackend
from fastreid_ext.search.driver import Search
from fastreid_ext.search.errors import SearchError, SearchStopped
from fastreid_ext.search.progress import SearchProgress, ShowProgress
from fastreid_ext.search.protocols import Job, Outcome, Proposal, Trial
from fastreid_ext.search.trials import TrialStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "trials.sqlite"


def search(store: TrialStore, strategy: Any = None, backend: Any = None, **options: Any) -> Search:
    options = {"metric": "mAP", "seed": 3, "max_evaluations": 8, **options}
    return Search(store, strategy or Climber(7), backend or InProcessBackend(ScoreFactory()), **options)


def told(trials: Any) -> list[Trial]:
    """What a search found out, without what differs from run to run."""
    return [replace(trial, created=0.0, duration=0.0, attempts=0) for trial in trials]


def uninterrupted(path: Path) -> list[Trial]:
    with TrialStore.create(path.with_name("whole.sqlite")) as store:
        search(store).run()
        return told(store.trials())


def test_search_finds_and_records(path: Path) -> None:
    seen: list[SearchProgress] = []
    with TrialStore.create(path) as store:
        progress = search(store, on_change=seen.append).run()
        trials = list(store.trials())
        counts = store.counts()
        assert store.meta("elapsed") >= progress.elapsed - 0.1
    assert counts["evaluated"] == 8 == progress.evaluations and counts["rejected"] > 3 and counts["duplicate"] > 0
    assert progress.counts == counts and progress.running == 0 and progress.max_evaluations == 8
    best = max((trial for trial in trials if trial.state == "evaluated"), key=lambda trial: trial.score or 0)
    assert progress.best == best and best.scores == {"mAP": best.score, "seed": 3.0}
    assert all(trial.attempts == 1 and trial.seed == 3 for trial in trials if trial.state == "evaluated")
    numbers = [one.evaluations for one in seen]
    assert numbers == sorted(numbers) and set(numbers) == set(range(9))
    assert 0 <= progress.busy <= 1


class Killed(BaseException):
    """Stands for the end of the process."""


class KilledStore(TrialStore):
    """Dies after a number of writes."""

    writes = 10**9

    def _count(self) -> None:
        self.writes -= 1
        if self.writes < 0:
            raise Killed

    def add(self, *args: Any, **options: Any) -> list[Trial]:
        self._count()
        result = super().add(*args, **options)
        self._count()
        return result

    def begin(self, number: int) -> None:
        super().begin(number)
        self._count()

    def finish(self, *args: Any, **options: Any) -> Trial:
        self._count()
        result = super().finish(*args, **options)
        self._count()
        return result

    def set_meta(self, **meta: Any) -> None:
        if self.writes >= 0:
            super().set_meta(**meta)


@pytest.mark.parametrize("every", [1, 2, 3, 4, 5, 7, 11, 16, 23])
def test_killed_search_continues_as_if_it_had_not_been(path: Path, every: int) -> None:
    expected = uninterrupted(path)
    TrialStore.create(path).close()
    runs = 0
    # A driver that always dies before it has written anything would never get on.
    for runs in itertools.count():
        with KilledStore.open(path) as store:
            assert isinstance(store, KilledStore)
            store.writes = every + runs
            try:
                search(store, max_attempts=100).run()
                break
            except Killed:
                continue
    assert runs > 0
    with TrialStore.read(path) as store:
        trials = list(store.trials())
    assert told(trials) == expected
    repeated = sum(trial.attempts - 1 for trial in trials if trial.attempts)
    assert repeated <= runs


def test_finished_search_goes_on_with_a_higher_limit(path: Path) -> None:
    expected = uninterrupted(path)
    for limit in (3, 3, 8):
        with TrialStore.open(path) if path.exists() else TrialStore.create(path) as store:
            progress = search(store, max_evaluations=limit).run()
            assert progress.evaluations == limit
            assert told(store.trials()) == expected[: store.last_number()]
    assert path.stat().st_size and len(expected) == progress.counts["evaluated"] + sum(
        progress.counts.get(state, 0) for state in ("rejected", "duplicate")
    )


def test_other_seed_other_candidates(path: Path) -> None:
    with TrialStore.create(path) as store:
        search(store, Climber(8)).run()
        assert told(store.trials()) != uninterrupted(path)


def test_search_ends_when_the_strategy_has_no_more(path: Path) -> None:
    with TrialStore.create(path) as store:
        progress = search(store, Climber(7, size=3), max_evaluations=None).run()
    assert 0 < progress.evaluations <= 3


def test_hours_count_over_all_runs(path: Path) -> None:
    with TrialStore.create(path, elapsed=7200.0) as store:
        assert search(store, max_hours=2).run().evaluations == 0
        assert search(store, max_hours=2.01, max_evaluations=2).run().evaluations == 2
        assert store.meta("elapsed") > 7200


def test_bad_candidates_are_recorded_and_the_search_goes_on(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("fastreid_ext").propagate = True
    plan = Planned([{"do": "nan"}, {"do": "raise"}, {"do": "memory"}, {"x": 0.5}])
    with TrialStore.create(path) as store:
        progress = search(store, plan, max_evaluations=None).run()
        trials = list(store.trials())
    assert [trial.state for trial in trials] == ["failed", "failed", "failed", "evaluated"]
    assert trials[0].reason == "ArithmeticError: mAP is nan" and trials[0].score is None and trials[0].scores == {}
    assert plan.told == [1, 2, 3, 4] and progress.evaluations == 4
    assert "trial 2 failed: ValueError: no such loss" in caplog.text


def test_wrong_metric_ends_the_search_without_blaming_a_candidate(path: Path) -> None:
    with TrialStore.create(path) as store:
        with pytest.raises(SearchError, match="returns no 'map', did you mean mAP: it returns mAP, seed"):
            search(store, metric="map").run()
        assert store.counts().get("failed", 0) == 0 and [trial.attempts for trial in store.waiting()] == [0]


def test_candidate_that_kills_the_search_itself_fails_in_the_end(path: Path) -> None:
    with TrialStore.create(path) as store:
        store.add([Proposal({"x": 0.1}, "evaluate")], strategy={"state": {"next": 1}, "trials": 0, "finished": 0})
        store.begin(1)
        store.begin(1)
        plan = Planned([{"x": 0.1}, {"x": 0.2}])
        search(store, plan).run()
        assert [trial.state for trial in store.trials()] == ["failed", "evaluated"]
        assert store.trial(1).reason == "the search died in each of 2 evaluations"
        assert plan.told == [1, 2]


class Losing:
    """A backend whose workers vanish."""

    capacity = 2
    in_driver = False

    def __init__(self, losses: dict[int, int]) -> None:
        self.losses = losses
        self.jobs: list[Job] = []
        self.most = 0

    def submit(self, job: Job) -> None:
        self.jobs.append(job)
        self.most = max(self.most, len(self.jobs))

    def wait(self, timeout: float | None = None) -> list[Outcome]:
        if not timeout and timeout is not None:
            return []
        job = self.jobs.pop()
        if self.losses.get(job.number, 0):
            self.losses[job.number] -= 1
            return [Outcome(job.number, error="the worker died", lost=True)]
        return [Outcome(job.number, {"mAP": 1.0})]

    def close(self) -> None:
        pass


def test_lost_candidates_are_tried_again_but_not_for_ever(path: Path) -> None:
    backend = Losing({1: 1, 2: 9})
    with TrialStore.create(path) as store:
        plan = Planned([{}] * 4)
        search(store, plan, backend, max_attempts=2).run()
        trials = list(store.trials())
    assert [trial.state for trial in trials] == ["evaluated", "failed", "evaluated", "evaluated"]
    assert [trial.attempts for trial in trials] == [2, 2, 1, 1]
    assert trials[1].reason == "the worker died (2 attempts)"
    assert backend.most == 2 and sorted(plan.told) == [1, 2, 3, 4]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_stops_an_evaluation_and_does_not_count_it(path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with TrialStore.create(path) as store:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), number))
        timer.start()
        start = time.monotonic()
        with pytest.raises(SearchStopped):
            search(store, Planned([{"x": 0.5}, {"do": "sleep"}])).run()
        assert time.monotonic() - start < 30
        assert [(trial.state, trial.attempts) for trial in store.trials()] == [("evaluated", 1), ("waiting", 0)]
        assert store.meta("elapsed") >= 0.4
    assert signal.getsignal(number) == before


def test_signal_while_the_strategy_thinks_ends_it(path: Path) -> None:
    class Thinker(Planned):
        def ask(self) -> Any:
            os.kill(os.getpid(), signal.SIGINT)
            return super().ask()

    with TrialStore.create(path) as store:
        with pytest.raises(SearchStopped):
            search(store, Thinker([{"x": 0.5}])).run()
        assert not list(store.trials())


def evaluated(path: Path) -> int:
    """By a plain reader: other processes write."""
    try:
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return int(connection.execute("SELECT count(*) FROM trials WHERE state = 'evaluated'").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.Error:
        return 0


@pytest.fixture
def drive(path: Path) -> Iterator[Any]:
    """Starts a search in a process of its own, and waits until it has some evaluations."""
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parents[1])])}
    drivers: list[subprocess.Popen[str]] = []

    def start(backend: str, seconds: float, until: int) -> subprocess.Popen[str]:
        command = [sys.executable, str(here / "toys.py"), str(path), str(seconds), "200", backend]
        driver = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        drivers.append(driver)
        end = time.monotonic() + 60
        while evaluated(path) < until:
            assert driver.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        return driver

    yield start
    for driver in drivers:
        driver.kill()
        driver.communicate()


def test_killed_process_is_continued_and_then_stopped_by_signal(path: Path, drive: Any) -> None:
    driver = drive("in-process", 0.05, 4)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    with TrialStore.open(path) as store:
        begun = sum(trial.attempts for trial in store.trials())
        found = store.counts()["evaluated"]
        assert begun - found <= 1
        search(store, max_evaluations=found + 4).run()
        trials = list(store.trials())
    assert sum(trial.attempts for trial in trials) <= found + 5
    with TrialStore.create(path.with_name("whole.sqlite")) as store:
        search(store, max_evaluations=found + 4).run()
        assert told(store.trials()) == told(trials)
    driver = drive("in-process", 0.05, found + 6)
    driver.send_signal(signal.SIGINT)
    _, errors = driver.communicate(timeout=20)
    assert driver.returncode == 130 and errors.strip() == "stopping; what is being evaluated will be evaluated again"


def test_workers_of_processes_are_used_at_once_and_one_may_die(path: Path, tmp_path: Path) -> None:
    plan = Planned([{"do": "die once", "file": str(tmp_path / "died")}, {"do": "exit"}, *[{"x": 0.5}] * 8])
    with (
        ProcessBackend(ScoreFactory(0.3), workers=2) as backend,
        TrialStore.create(path) as store,
    ):
        progress = search(store, plan, backend, max_evaluations=10).run()
        trials = list(store.trials())
    assert [trial.state for trial in trials] == ["evaluated", "failed", *["evaluated"] * 8]
    assert trials[0].attempts == 2 and trials[1].attempts == 2
    assert trials[1].reason == "the worker was lost: it ended with code 3 (2 attempts)"
    assert {trial.worker for trial in trials} == {"process 1", "process 2"}
    assert progress.elapsed < sum(trial.duration for trial in trials) + 60


def test_little_time_is_spent_outside_evaluations(path: Path) -> None:
    with ProcessBackend(ScoreFactory(0.2), workers=2) as backend, TrialStore.create(path) as store:
        assert isinstance(backend, ProcessBackend)
        for number in (1, 2):
            backend.submit(Job(number, {}, 0))
        ready: list[Outcome] = []
        while len(ready) < 2:
            ready += backend.wait()
        progress = search(store, Planned([{"x": 0.5}] * 20), backend, max_evaluations=20).run()
    assert progress.busy > 0.7


def test_progress_without_a_terminal_is_lines(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("fastreid_ext").propagate = True
    progress = SearchProgress({"evaluated": 3, "failed": 1, "rejected": 70}, 1, None, 12.3, 0.97, 10)
    with caplog.at_level(logging.INFO), ShowProgress(bar=False) as show:
        for _ in range(5):
            show(progress)
    lines = [record.message for record in caplog.records]
    line = "4 of 10 evaluations in 12 s, best none, rejected 70, failed 1, busy 97%"
    assert lines == [line, line]


def test_progress_bar_counts_evaluations(capsys: pytest.CaptureFixture[str]) -> None:
    with ShowProgress(bar=True) as show:
        for done in (4, 7):
            show(SearchProgress({"evaluated": done, "duplicate": 2}, 1, None, 12.3, 0.97, 10))
    assert "7/10" in capsys.readouterr().err
