"""The file of trials: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

import json
import sqlite3
import time
from pathlib import Path

import pytest

from fastreid_ext.search.errors import TrialStoreError
from fastreid_ext.search.protocols import Outcome, Proposal
from fastreid_ext.search.trials import TrialStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "search" / "trials.sqlite"


def test_trials_come_back_as_they_went_in(path: Path) -> None:
    proposals = [
        Proposal({"t": "x", "s": [1, 2.5]}, "rejected", (1, 2), "cross", "values: not finite: at 0", "k0"),
        Proposal({"t": "x²"}, "evaluate", key="k1"),
    ]
    with TrialStore.create(path, description={"what": "test"}) as store:
        added = store.add(proposals, seed=5, strategy={"step": 1})
    with TrialStore.read(path) as store:
        assert list(store.trials()) == added
        assert [trial.proposal for trial in added] == proposals
        assert [(t.number, t.state, t.seed, t.attempts) for t in added] == [(1, "rejected", 5, 0), (2, "waiting", 5, 0)]
        assert added[0].reason == proposals[0].reason
        assert abs(added[0].created - time.time()) < 60
        assert store.meta("strategy") == {"step": 1} and store.meta("description") == {"what": "test"}
        assert store.meta("unknown", 7) == 7
        assert [trial.number for trial in store.waiting()] == [2]


def test_evaluations_are_counted_recorded_and_ranked(path: Path) -> None:
    with TrialStore.create(path) as store:
        store.add([Proposal({"x": i}, "evaluate") for i in range(4)])
        store.begin(1)
        store.begin(1)
        store.take_back(1)
        trial = store.finish(Outcome(1, {"mAP": 0.25, "rank1": 0.5}, duration=2.0, worker="w"), 0.25, elapsed=3.5)
        assert (trial.state, trial.score, trial.scores) == ("evaluated", 0.25, {"mAP": 0.25, "rank1": 0.5})
        assert (trial.attempts, trial.duration, trial.worker, store.meta("elapsed")) == (1, 2.0, "w", 3.5)
        store.finish(Outcome(4, {"mAP": 0.75}, duration=1.0), 0.75)
        failed = store.finish(Outcome(2, error="out of memory"), None)
        assert (failed.state, failed.score, failed.reason, failed.proposal.reason) == (
            "failed",
            None,
            "out of memory",
            "",
        )
        assert store.counts() == {"evaluated": 2, "failed": 1, "waiting": 1}
        assert [trial.number for trial in store.best(5)] == [4, 1]
        assert [trial.number for trial in store.finished_since(1)] == [4, 2]
        assert store.worker_seconds() == 3.0
        with pytest.raises(KeyError):
            store.trial(9)


def test_duplicate_has_the_score_of_its_twin_whenever_that_comes(path: Path) -> None:
    with TrialStore.create(path) as store:
        store.add([Proposal({}, "evaluate"), Proposal({}, "duplicate", duplicate_of=1)])
        assert store.trial(2).score is None
        store.finish(Outcome(1, {"mAP": 0.5}), 0.5)
        (late,) = store.add([Proposal({}, "duplicate", duplicate_of=1)])
        assert store.trial(2).score == late.score == 0.5
        assert store.best(9) == [store.trial(1)]


def test_rejections_are_counted_by_stage(path: Path) -> None:
    reasons = ["values: a", "values: b: c", "properties: d", "other"]
    with TrialStore.create(path) as store:
        store.add([Proposal({}, "rejected", reason=reason) for reason in reasons])
        assert store.rejections() == {"values": 2, "other": 1, "properties": 1}


def test_proposals_and_state_are_written_together_or_not_at_all(path: Path) -> None:
    with TrialStore.create(path, strategy=1) as store:
        with pytest.raises(TypeError):
            store.add([Proposal({}, "evaluate"), Proposal({"x": object()}, "evaluate")], strategy=2)
        with pytest.raises(TypeError):
            store.add([Proposal({}, "evaluate")], strategy=object())
        with pytest.raises(ValueError, match="not 'evaluated'"):
            store.add([Proposal({}, "evaluated")], strategy=2)
        assert store.meta("strategy") == 1 and list(store.trials()) == []
        assert store.add([Proposal({}, "evaluate")])[0].number == 1


def test_hundred_thousand_rejected_candidates_are_no_burden(path: Path) -> None:
    candidate = {"t": "exp(x) - 0.5", "n": "x", "s": 5}
    proposals = [Proposal(candidate, "rejected", reason="values: not finite")] * 50_000
    start = time.process_time()
    with TrialStore.create(path) as store:
        store.add(proposals)
        store.add(proposals)
        small = time.process_time()
        store.add([Proposal(candidate, "evaluate")], strategy={"a": 1})
        assert store.counts() == {"rejected": 100_000, "waiting": 1}
        assert len(store.waiting()) == 1
        assert time.process_time() - small < 0.3
        assert sum(1 for _ in store.trials()) == 100_001
    assert time.process_time() - start < 10


def test_file_is_read_while_it_is_written(path: Path) -> None:
    with TrialStore.create(path) as store:
        store.add([Proposal({"x": 1}, "evaluate")] * 3)
        with TrialStore.read(path) as reader:
            trials = reader.trials()
            assert next(trials).number == 1
            store.finish(Outcome(1, {"mAP": 1.0}), 1.0)
            assert [trial.number for trial in reader.best()] == [1]
            with pytest.raises(TrialStoreError):
                reader.begin(2)


def test_second_writer_is_refused_and_a_closed_file_is_free(path: Path) -> None:
    with TrialStore.create(path):
        with pytest.raises(TrialStoreError, match="another search is writing"):
            TrialStore.open(path)
        with pytest.raises(TrialStoreError, match="another search is writing"):
            TrialStore.create(path)
    TrialStore.open(path).close()


def test_new_search_does_not_overwrite_an_old_one(path: Path) -> None:
    TrialStore.create(path).close()
    with pytest.raises(TrialStoreError, match="--resume"):
        TrialStore.create(path)
    TrialStore.open(path).close()


def test_missing_file(path: Path) -> None:
    for opened in (TrialStore.read, TrialStore.open):
        with pytest.raises(TrialStoreError, match="is missing"):
            opened(path)


def test_search_killed_before_its_tables_were_made_is_begun_anew(path: Path) -> None:
    path.parent.mkdir()
    path.touch()
    with pytest.raises(TrialStoreError, match="holds no search"):
        TrialStore.open(path)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    TrialStore.create(path).close()
    TrialStore.open(path).close()


@pytest.mark.parametrize("opened", [TrialStore.open, TrialStore.read])
def test_other_files_are_refused_and_left_alone(path: Path, opened: object) -> None:
    assert callable(opened)
    path.parent.mkdir()
    path.write_text("no database at all\n" * 100)
    with pytest.raises(TrialStoreError, match=r"trials.sqlite is damaged or no SQLite file"):
        opened(path)
    with pytest.raises(TrialStoreError, match="exists already"):
        TrialStore.create(path)
    path.unlink()
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE trials (number INTEGER)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(TrialStoreError, match="of another program"):
        opened(path)
    assert path.read_bytes() == before


def test_newer_version_is_refused(path: Path) -> None:
    TrialStore.create(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(TrialStoreError, match="newer version"):
        TrialStore.open(path)


@pytest.mark.parametrize("damage", ["cut", "zeros"])
def test_damaged_pages_are_noticed(path: Path, damage: str) -> None:
    with TrialStore.create(path) as store:
        store.add([Proposal({"x": "y" * 500}, "evaluate")] * 200)
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[:half] if damage == "cut" else content[:half] + bytes(len(content) - half))
    for opened in (TrialStore.read, TrialStore.open):
        with pytest.raises(TrialStoreError, match=r"trials.sqlite is damaged .* copy"):
            opened(path)


def test_damage_while_open_is_an_error_that_names_the_file(path: Path) -> None:
    with TrialStore.create(path) as store:
        store.add([Proposal({"x": 1}, "evaluate")])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE trials SET candidate = '{\"x'")
    connection.execute("INSERT INTO meta VALUES ('strategy', 'nan of json')")
    connection.commit()
    connection.close()
    with TrialStore.read(path) as store:
        with pytest.raises(TrialStoreError, match=r"trials.sqlite is damaged: trial 1"):
            list(store.trials())
        with pytest.raises(TrialStoreError, match=r"trials.sqlite is damaged: meta 'strategy'"):
            store.meta("strategy")


def test_file_is_plain_sqlite_in_wal_mode(path: Path) -> None:
    with TrialStore.create(path, description={"a": 1}) as store:
        store.add([Proposal({"x": 1}, "evaluate")])
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert json.loads(connection.execute("SELECT candidate FROM trials").fetchone()[0]) == {"x": 1}
    connection.close()


def test_the_file_alone_has_the_search_after_its_end_and_every_tenth_evaluation(path: Path) -> None:
    def alone() -> int:
        copy = path.with_name("copy.sqlite")
        copy.write_bytes(path.read_bytes())
        with TrialStore.read(copy) as store:
            return sum(trial.state == "evaluated" for trial in store.trials())

    with TrialStore.create(path, config="x") as store:
        store.add([Proposal({"x": i}, "evaluate") for i in range(13)])
        for number in range(1, 13):
            store.finish(Outcome(number, {"score": 1.0}), 1.0)
        assert alone() == 10
    assert alone() == 12


def test_facts_are_there_as_soon_as_the_file_is(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrialStore, "set_meta", None)
    with TrialStore.create(path, config="x"), TrialStore.read(path) as store:
        assert store.meta("config") == "x"
