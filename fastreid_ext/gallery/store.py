"""A gallery on disk: images and facts in SQLite, vectors in a file beside it."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from operator import index
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from numpy.typing import NDArray

from fastreid_ext.gallery.errors import GalleryError
from fastreid_ext.gallery.item import Item, Label
from fastreid_ext.gallery.states import FileState, State
from fastreid_ext.gallery.vector_file import VectorFile

__all__ = ["Store"]

_DATABASE = "gallery.sqlite"
_FORMAT = 1
_ROWS = 2**16
# Of seconds, for those who read while a large transaction is written.
_PATIENCE = 60.0
# A gallery may lie among other files, which are not its own to delete.
_OWN_FILES = re.compile(r"index-\d+\.faiss|vectors-\d+\.bin|\.(index-\d+\.faiss|unreadable\.txt)\..+\.tmp")
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE items (
    row INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, pid, camid, size INTEGER NOT NULL, mtime INTEGER NOT NULL
);
"""
# File names are bytes, which SQLite keeps as they are when it is told that they are text.
_PATH = "CAST(? AS TEXT)"


class Store:
    """Rows of vectors and whose they are. Row numbers are never given again; an image that changed leaves its old one.

    What is committed is a transaction of SQLite, vectors being on the disk before: a writer that is killed leaves what
    was there before, or all that it was about to add. One process writes, any number read at the same time.

    Args:
        folder: of the gallery.

    Raises:
        GalleryError: there is no gallery, or a file of it is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = folder / _DATABASE
        if not path.is_file():
            raise GalleryError(f"no gallery in {folder.absolute()}: make one with gallery.py build")
        self._connection = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        self._connection.text_factory = os.fsdecode
        with self._guard():
            version = self.fact("format")
            if version != _FORMAT:
                raise GalleryError(f"{folder.absolute()} is of format {version}; this version reads {_FORMAT}")
            self.dim, self.dtype = int(self.fact("dim")), str(self.fact("dtype"))

    @classmethod
    def create(cls, folder: Path, *, dim: int, dtype: str, **facts: Any) -> Store:
        """An empty one.

        Args:
            folder: for it; it may be there already.
            dim: of the vectors.
            dtype: that they are kept in: "float32" or "float16".
            **facts: more of them, which JSON can hold.

        Raises:
            GalleryError: the folder has a gallery.
        """
        folder.mkdir(parents=True, exist_ok=True)
        path, unfinished = folder / _DATABASE, folder / f".{_DATABASE}.new"
        facts |= {"format": _FORMAT, "dim": dim, "dtype": dtype, "rows": 0, "vectors": "vectors-0.bin"}
        with _locked(folder):
            if path.exists():
                raise GalleryError(f"{folder.absolute()} has a gallery: add to it, or take another folder")
            unfinished.unlink(missing_ok=True)
            with closing(sqlite3.connect(unfinished)) as connection:
                connection.executescript(_SCHEMA)
                values = [(name, json.dumps(value)) for name, value in facts.items()]
                connection.executemany("INSERT INTO facts VALUES (?, ?)", values)
                connection.commit()
            unfinished.replace(path)
        return cls(folder)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keeps other writers out, and clears away what killed ones have left.

        Raises:
            GalleryError: another process writes.
        """
        with _locked(self.folder):
            self._clear()
            yield

    def fact(self, name: str) -> Any:
        """What is known under a name; None if nothing is."""
        with self._guard():
            found = self._connection.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return json.loads(found[0]) if found else None

    def set_fact(self, name: str, value: Any) -> None:
        """Remembers a value, which JSON can hold; commits."""
        with self._guard():
            self._connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, json.dumps(value)))

    @property
    def rows(self) -> int:
        """Of vectors, those of images that have changed since included."""
        return int(self.fact("rows"))

    def __len__(self) -> int:
        with self._guard():
            return int(self._connection.execute("SELECT COUNT(*) FROM items").fetchone()[0])

    def state(self) -> State:
        """Which files are the gallery's, of one moment: a writer may commit others in the next."""
        names = "'vectors', 'rows', 'index'"
        with self._guard():
            found = dict(self._connection.execute(f"SELECT name, value FROM facts WHERE name IN ({names})").fetchall())
        values = {name: json.loads(value) for name, value in found.items()}
        return State(str(values["vectors"]), int(values["rows"]), values.get("index"))

    def vectors(self, state: State | None = None) -> NDArray[Any]:
        """All rows, in their file.

        Args:
            state: of another moment than now.

        Shape:
            Result: (rows, dim), float32 or float16.

        Raises:
            GalleryError: the file is cut short.
        """
        state = state or self.state()
        return VectorFile(self.folder / state.vectors, self.dim, self.dtype).rows(state.rows)

    def check(self, *, of_unit_length: bool) -> None:
        """Reads database and vectors whole.

        Args:
            of_unit_length: all vectors are.

        Raises:
            GalleryError: one is damaged.
        """
        with self._guard():
            (said,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if said != "ok":
            raise GalleryError(f"{(self.folder / _DATABASE).absolute()} is damaged: {said}")
        state = self.state()
        VectorFile(self.folder / state.vectors, self.dim, self.dtype).check(state.rows, of_unit_length=of_unit_length)

    def append(self, vectors: NDArray[Any], items: Sequence[tuple[Item, FileState]]) -> None:
        """Commits vectors and their images, which replace those of the same paths.

        Shape:
            vectors: (n, dim), for n items.

        Raises:
            GalleryError: numbers are too large for the type, or a file of the gallery is damaged.
            ValueError: there are not as many vectors as images.
        """
        if len(vectors) != len(items):
            raise ValueError(f"{len(vectors)} vectors for {len(items)} images")
        first = self.rows
        self._file().append(vectors, after=first)
        values = [
            (first + i, os.fsencode(item.path), _plain(item.pid), _plain(item.camid), state.size, state.mtime)
            for i, (item, state) in enumerate(items)
        ]
        with self._guard(), self._transaction():
            self._connection.executemany(
                f"INSERT INTO items VALUES (?, {_PATH}, ?, ?, ?, ?) ON CONFLICT (path) DO UPDATE SET "
                "row = excluded.row, pid = excluded.pid, camid = excluded.camid, "
                "size = excluded.size, mtime = excluded.mtime",
                values,
            )
            self.set_fact("rows", first + len(items))

    def known(self, path: str) -> tuple[Item, FileState] | None:
        """The image of a path, if it is in the gallery."""
        query = f"SELECT pid, camid, size, mtime FROM items WHERE path = {_PATH}"
        with self._guard():
            found = self._connection.execute(query, (os.fsencode(path),)).fetchone()
        return (Item(path, *found[:2]), FileState(*found[2:])) if found else None

    def at(self, rows: Iterable[int]) -> dict[int, Item]:
        """The images of rows; those that have changed since are missing."""
        query = "SELECT path, pid, camid FROM items WHERE row = ?"
        with self._guard():
            found = {row: self._connection.execute(query, (row,)).fetchone() for row in set(rows)}
        return {row: Item(*values) for row, values in found.items() if values}

    def compact(self) -> None:
        """Numbers the rows anew, without those of images that have changed; there is no index then."""
        with self._guard():
            kept = [row for (row,) in self._connection.execute("SELECT row FROM items ORDER BY row")]
        if len(kept) == self.rows:
            return
        vectors, name = self.vectors(), f"vectors-{int(self.fact('vectors')[len('vectors-') : -len('.bin')]) + 1}.bin"
        file = VectorFile(self.folder / name, self.dim, self.dtype)
        for start in range(0, len(kept), _ROWS):
            file.append(vectors[kept[start : start + _ROWS]], after=start)
        with self._guard(), self._transaction():
            # Upwards, so that a number is free when it is given.
            moved = ((new, old) for new, old in enumerate(kept) if new != old)
            self._connection.executemany("UPDATE items SET row = ? WHERE row = ?", moved)
            for fact, value in (("rows", len(kept)), ("vectors", name), ("index", None)):
                self.set_fact(fact, value)
        self._clear()

    def close(self) -> None:
        """Frees the files."""
        self._connection.close()

    def remove(self) -> None:
        """Deletes the files, which must be closed; others in the folder stay."""
        for name in (_DATABASE, ".lock"):
            (self.folder / name).unlink(missing_ok=True)

    def _file(self) -> VectorFile:
        return VectorFile(self.folder / self.fact("vectors"), self.dim, self.dtype)

    def _clear(self) -> None:
        state = self.state()
        used = {state.vectors, state.index["file"] if state.index else ""}
        for path in self.folder.iterdir():
            if _OWN_FILES.fullmatch(path.name) and path.name not in used and path.is_file():
                path.unlink(missing_ok=True)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            # Of some errors, such as a full disk, SQLite does it itself.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise GalleryError(f"{(self.folder / _DATABASE).absolute()} cannot be used: {error}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise GalleryError(f"another process writes to {folder.absolute()}: wait for its end") from error
    try:
        yield
    finally:
        lock.release()


def _plain(label: Label) -> Label:
    """As SQLite keeps it: NumPy's numbers are bytes to it."""
    return label if label is None or isinstance(label, str) else index(label)
