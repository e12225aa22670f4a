"""The file that keeps every trial of a search."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from fastreid_ext.search.database import (
    create_database,
    fold_in,
    guard,
    is_empty,
    lock_database,
    open_database,
    transaction,
)
from fastreid_ext.search.errors import TrialStoreError
from fastreid_ext.search.protocols import Outcome, Proposal, Trial

__all__ = ["TrialStore"]

_COLUMNS = (
    "number, state, candidate, parents, mutation, key, reason, duplicate_of, "
    "score, scores, seed, attempts, worker, created, duration"
)
# Rows are fetched in portions, so that a slow reader keeps no old state of the file alive.
_PORTION = 2000
# Evaluations after which the file is brought up to date by itself.
_FOLD_EVERY = 10


class TrialStore:
    """Trials by number, and facts about the search by name, in one SQLite file.

    One process writes (`create`, `open`), any number read at the same time (`read`). What a method has written is on
    the disk when it returns. Every method raises `TrialStoreError` when the file turns out to be damaged.
    """

    def __init__(self, path: str | Path, mode: str, meta: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self._lock = None
        if mode == "read":
            self._connection = open_database(self.path, writable=False)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = lock_database(self.path)
        try:
            if mode == "create":
                self._connection = create_database(
                    self.path, {key: json.dumps(value) for key, value in (meta or {}).items()}
                )
            else:
                self._connection = open_database(self.path, writable=True)
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def create(cls, path: str | Path, **meta: Any) -> TrialStore:
        """The file of a new search.

        Args:
            path: of a file that does not exist yet.
            **meta: facts about the search, such as its description.

        Raises:
            TrialStoreError: the file exists, or another process writes to it.
        """
        return cls(path, "create", meta)

    @classmethod
    def open(cls, path: str | Path) -> TrialStore:
        """The file of a search that goes on.

        Raises:
            TrialStoreError: the file is missing, damaged or not ours, or another process writes to it.
        """
        return cls(path, "open")

    @classmethod
    def read(cls, path: str | Path) -> TrialStore:
        """The file of a search that may be running.

        Raises:
            TrialStoreError: the file is missing, damaged or not ours.
        """
        return cls(path, "read")

    @classmethod
    def begun(cls, path: str | Path) -> bool:
        """Whether a search was begun in the file; one that was killed while it made the file was not."""
        return Path(path).exists() and not is_empty(Path(path))

    def close(self) -> None:
        """Frees the file for others."""
        if self._lock is not None:
            self._fold_in()
        self._connection.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> TrialStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def add(self, proposals: Sequence[Proposal], *, seed: int = 0, **meta: Any) -> list[Trial]:
        """Records proposals, in order, and facts that belong to them such as the strategy's state: all or nothing.

        A duplicate gets the score of its twin, now or when the twin has one.

        Args:
            proposals: what a strategy asked for.
            seed: of their evaluations.
            **meta: facts by name.
        """
        with guard(self.path), transaction(self._connection):
            first = self.last_number() + 1
            rows = [_row(number, proposal, seed) for number, proposal in enumerate(proposals, first)]
            marks = ", ".join("?" * len(_COLUMNS.split(",")))
            self._connection.executemany(f"INSERT INTO trials ({_COLUMNS}) VALUES ({marks})", rows)
            self._connection.execute(
                "UPDATE trials SET score = (SELECT score FROM trials AS twin WHERE twin.number = trials.duplicate_of) "
                "WHERE number >= ? AND duplicate_of IS NOT NULL",
                (first,),
            )
            self._write_meta(meta)
        return list(self.trials(first=first))

    def begin(self, number: int) -> None:
        """Counts an attempt to evaluate a trial."""
        self._update("UPDATE trials SET attempts = attempts + 1 WHERE number = ?", (number,))

    def take_back(self, number: int) -> None:
        """Undoes `begin`: the evaluation was stopped by a person, so that it tells nothing about the candidate."""
        self._update("UPDATE trials SET attempts = attempts - 1 WHERE number = ?", (number,))

    def drop_waiting(self) -> None:
        """Forgets trials that have not ended, for searches that list what is left to evaluate anew."""
        self._update("DELETE FROM trials WHERE state = 'waiting'", ())

    def finish(self, outcome: Outcome, score: float | None, **meta: Any) -> Trial:
        """Records what became of an evaluation.

        Args:
            outcome: the worker's.
            score: what is maximised; None when the evaluation failed for the reason in `outcome.error`.
            **meta: facts by name.
        """
        state = "failed" if score is None else "evaluated"
        end = self.finished_count() + 1
        values = (state, outcome.error, score, json.dumps(dict(outcome.scores)), outcome.worker, outcome.duration)
        with guard(self.path), transaction(self._connection):
            self._connection.execute(
                "UPDATE trials SET state = ?, reason = ?, score = ?, scores = ?, worker = ?, duration = ?, "
                "finished = ? WHERE number = ?",
                (*values, end, outcome.number),
            )
            self._connection.execute(
                "UPDATE trials SET score = ? WHERE duplicate_of = ?",
                (score, outcome.number),
            )
            self._write_meta(meta)
        if end % _FOLD_EVERY == 0:
            self._fold_in()
        return self.trial(outcome.number)

    def trial(self, number: int) -> Trial:
        """One trial.

        Raises:
            KeyError: there is none of that number.
        """
        for trial in self._select("WHERE number = ?", (number,)):
            return trial
        raise KeyError(number)

    def trials(self, state: str | None = None, *, first: int = 1) -> Iterator[Trial]:
        """Trials in order of their numbers, read while they are iterated.

        Args:
            state: only those of this state.
            first: number from which on.
        """
        condition = "AND state = ?" if state else ""
        while True:
            values = (first, *([state] if state else []), _PORTION)
            portion = self._select(f"WHERE number >= ? {condition} ORDER BY number LIMIT ?", values)
            yield from portion
            if len(portion) < _PORTION:
                return
            first = portion[-1].number + 1

    def waiting(self) -> list[Trial]:
        """Trials to be evaluated, or just being so."""
        return list(self.trials("waiting"))

    def finished_since(self, count: int) -> list[Trial]:
        """Evaluated and failed trials in the order of their ends, without the first `count` of them."""
        return self._select("WHERE finished > ? ORDER BY finished", (count,))

    def best(self, count: int = 1) -> list[Trial]:
        """The evaluated trials of highest score, best first; of equal ones the older first."""
        return self._select("WHERE state = 'evaluated' ORDER BY score DESC, number LIMIT ?", (count,))

    def counts(self) -> dict[str, int]:
        """How many trials have each state."""
        return dict(self._fetch("SELECT state, count(*) FROM trials GROUP BY state"))

    def rejections(self) -> dict[str, int]:
        """How many candidates each stage of the screening rejected, most first."""
        return dict(
            self._fetch(
                "SELECT substr(reason, 1, instr(reason || ':', ':') - 1) AS stage, count(*) FROM trials "
                "WHERE state = 'rejected' GROUP BY stage ORDER BY 2 DESC, 1"
            )
        )

    def worker_seconds(self) -> float:
        """What all finished evaluations took together."""
        return float(self._fetch("SELECT total(duration) FROM trials WHERE finished IS NOT NULL")[0][0])

    def last_number(self) -> int:
        """Number of the newest trial; 0 without any."""
        return int(self._fetch("SELECT coalesce(max(number), 0) FROM trials")[0][0])

    def finished_count(self) -> int:
        """How many evaluations have ended."""
        return int(self._fetch("SELECT coalesce(max(finished), 0) FROM trials WHERE finished IS NOT NULL")[0][0])

    def meta(self, key: str, default: Any = None) -> Any:
        """A fact about the search."""
        rows = self._fetch("SELECT value FROM meta WHERE key = ?", (key,))
        return self._json(rows[0][0], f"meta '{key}'") if rows else default

    def set_meta(self, **meta: Any) -> None:
        """Sets facts about the search, all or none."""
        with guard(self.path), transaction(self._connection):
            self._write_meta(meta)

    def _fold_in(self) -> None:
        # Whoever copies the file alone is to have the search; a reader or a full disk may delay that.
        with suppress(sqlite3.Error):
            fold_in(self._connection)

    def _write_meta(self, meta: Mapping[str, Any]) -> None:
        rows = [(key, json.dumps(value)) for key, value in meta.items()]
        self._connection.executemany("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", rows)

    def _update(self, statement: str, values: tuple[Any, ...]) -> None:
        with guard(self.path), transaction(self._connection):
            self._connection.execute(statement, values)

    def _fetch(self, query: str, values: tuple[Any, ...] = ()) -> list[Any]:
        with guard(self.path):
            return self._connection.execute(query, values).fetchall()

    def _select(self, rest: str, values: tuple[Any, ...]) -> list[Trial]:
        return [self._trial(row) for row in self._fetch(f"SELECT {_COLUMNS} FROM trials {rest}", values)]

    def _trial(self, row: tuple[Any, ...]) -> Trial:
        number, state, candidate, parents, mutation, key, reason, duplicate_of, score, scores, *rest = row
        where = f"trial {number}"
        verdict = state if state in ("rejected", "duplicate") else "evaluate"
        proposal = Proposal(
            self._json(candidate, where),
            verdict,
            tuple(self._json(parents, where)),
            mutation,
            reason if verdict != "evaluate" else "",
            key,
            duplicate_of,
        )
        return Trial(number, state, proposal, score, self._json(scores, where), reason, *rest)

    def _json(self, text: str, where: str) -> Any:
        try:
            return json.loads(text)
        except (TypeError, ValueError) as error:
            raise TrialStoreError(f"{self.path} is damaged: {where} is no JSON ({error})") from error


def _row(number: int, proposal: Proposal, seed: int) -> tuple[Any, ...]:
    if proposal.verdict not in ("evaluate", "rejected", "duplicate"):
        raise ValueError(f"a proposal's verdict is evaluate, rejected or duplicate, not '{proposal.verdict}'")
    state = "waiting" if proposal.verdict == "evaluate" else proposal.verdict
    candidate, parents = json.dumps(proposal.candidate), json.dumps(proposal.parents)
    described = (proposal.mutation, proposal.key, proposal.reason, proposal.duplicate_of)
    return (number, state, candidate, parents, *described, None, "{}", seed, 0, "", time.time(), 0.0)
