"""The SQLite file of a search: made, opened, recognised; one writer at a time."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from fastreid_ext.search.errors import TrialStoreError

__all__ = ["create_database", "fold_in", "guard", "is_empty", "lock_database", "open_database", "transaction"]

# "frxs" tells our files from other programs' SQLite files.
_APPLICATION = int.from_bytes(b"frxs", "big")
_VERSION = 1
# Readers and the writer do not wait for each other in WAL mode, but opening and closing take short locks.
_TIMEOUT_SECONDS = 30

_SCHEMA = """
CREATE TABLE trials (
    number INTEGER PRIMARY KEY,
    state TEXT NOT NULL,
    candidate TEXT NOT NULL,
    parents TEXT NOT NULL,
    mutation TEXT NOT NULL,
    key TEXT NOT NULL,
    reason TEXT NOT NULL,
    duplicate_of INTEGER,
    score REAL,
    scores TEXT NOT NULL DEFAULT '{}',
    seed INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    worker TEXT NOT NULL DEFAULT '',
    created REAL NOT NULL,
    duration REAL NOT NULL DEFAULT 0,
    finished INTEGER
);
CREATE INDEX trials_by_score ON trials (state, score);
CREATE INDEX trials_by_end ON trials (finished) WHERE finished IS NOT NULL;
CREATE INDEX trials_by_twin ON trials (duplicate_of) WHERE duplicate_of IS NOT NULL;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@contextmanager
def guard(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into sentences that name the file."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise TrialStoreError(f"{path} cannot be used: {error}. Is the disk full, or not writable?") from error
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error


def lock_database(path: Path) -> FileLock:
    """Makes this process the only writer; the system frees the lock of a process that dies.

    Raises:
        TrialStoreError: another process is the writer.
    """
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrialStoreError(
            f"another search is writing to {path}: wait until it has ended, or choose another OUTPUT_DIR"
        ) from error
    return lock


def create_database(path: Path, meta: Mapping[str, str]) -> sqlite3.Connection:
    """A new file; one that was begun but holds nothing yet is taken over.

    Args:
        path: of the file.
        meta: facts about the search as JSON, there as soon as the file is.

    Raises:
        TrialStoreError: the file holds something.
    """
    if path.exists() and not is_empty(path):
        raise TrialStoreError(
            f"{path} exists already: go on with its search by --resume, or choose another OUTPUT_DIR for a new one"
        )
    with guard(path):
        connection = _connect(path, "rwc")
        _prepare_writing(connection)
        with transaction(connection):
            for statement in _SCHEMA.strip().split(";\n"):
                connection.execute(statement)
            connection.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", meta.items())
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
    return connection


def open_database(path: Path, *, writable: bool) -> sqlite3.Connection:
    """An existing file.

    Raises:
        TrialStoreError: it is missing, damaged, or not of this program or this version.
    """
    if not path.is_file():
        raise TrialStoreError(f"{path} is missing: no search was begun there")
    with guard(path):
        connection = _connect(path, "rw" if writable else "ro")
    try:
        with guard(path):
            _recognise(connection, path)
            if writable:
                _prepare_writing(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def fold_in(connection: sqlite3.Connection) -> None:
    """Moves what lies in the file's -wal into the file itself, as far as no reader holds it there."""
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block's statements happen, or none."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.resolve().as_uri()}?mode={mode}"
    # A reader of a WAL file makes files beside it, which it cannot in a folder that only others write to.
    if mode == "ro" and not os.access(path.parent, os.W_OK) and not Path(f"{path}-wal").exists():
        uri += "&immutable=1"
    return sqlite3.connect(uri, uri=True, timeout=_TIMEOUT_SECONDS, isolation_level=None)


def _prepare_writing(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if application == 0 and tables == 0:
            raise TrialStoreError(
                f"{path} holds no search. If it is a copy, copy {path.name}-wal with it; if its search was stopped "
                f"before the first trial, start it anew"
            )
        if application != _APPLICATION:
            raise TrialStoreError(f"{path} is a SQLite file of another program, not of a search; it was left as it is")
        if version > _VERSION:
            raise TrialStoreError(
                f"{path} was written by a newer version of fastreid_ext (file version {version}, known: {_VERSION})"
            )
        found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        raise _damaged(path, str(error)) from error
    if found != "ok":
        raise _damaged(path, found.splitlines()[-1])


def _damaged(path: Path, detail: str) -> TrialStoreError:
    return TrialStoreError(
        f"{path} is damaged or no SQLite file ({detail}). Restore it from a copy, or start again in another "
        f"OUTPUT_DIR; `sqlite3 {path.name} .recover` may save a part of it"
    )


def is_empty(path: Path) -> bool:
    """Whether a search was killed before it had made its tables."""
    if not path.is_file():
        return False
    if path.stat().st_size == 0:
        return True
    connection = _connect(path, "ro")
    try:
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        return not application and not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    except sqlite3.DatabaseError:
        return False
    finally:
        connection.close()
