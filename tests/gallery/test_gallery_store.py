"""The files of a gallery."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from fastreid_ext.gallery import GalleryError, Item
from fastreid_ext.gallery.store import FileState, Store
from fastreid_ext.gallery.vector_file import VectorFile

STATE = FileState(1, 2)


def store(folder: Path, number: int = 5) -> Store:
    made = Store.create(folder, dim=3, dtype="float32")
    made.append(vectors(number), [(Item(f"{i}", i), STATE) for i in range(number)])
    return made


def vectors(number: int, first: int = 0) -> np.ndarray:
    return np.arange(3 * first, 3 * (first + number), dtype=np.float32).reshape(number, 3)


def test_rows_of_changed_images_are_dropped_when_compacted(tmp_path: Path) -> None:
    made = store(tmp_path)
    made.append(vectors(2, 5), [(Item("1", 10), STATE), (Item("3"), STATE)])
    assert (made.rows, len(made)) == (7, 5) and made.at(range(-1, 9)).keys() == {0, 2, 4, 5, 6}
    made.compact()
    assert (made.rows, len(made)) == (5, 5)
    assert [(row, item.path, item.pid) for row, item in made.at(range(9)).items()] == [
        *((0, "0", 0), (1, "2", 2), (2, "4", 4), (3, "1", 10), (4, "3", None))
    ]
    np.testing.assert_array_equal(made.vectors(), vectors(7)[[0, 2, 4, 5, 6]])
    assert not (tmp_path / "vectors-0.bin").exists()
    made.append(vectors(1), [(Item("new"), STATE)])
    assert made.rows == 6 and made.known("new") == (Item("new"), STATE) and made.known("newer") is None


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    made = store(tmp_path)
    with pytest.raises(OverflowError):
        made.append(vectors(2), [(Item("a"), STATE), (Item("b", camid=2**70), STATE)])
    assert (made.rows, len(made)) == (5, 5) and made.known("a") is None
    made.append(vectors(1, 9), [(Item("a"), STATE)])
    np.testing.assert_array_equal(made.vectors()[5:], vectors(1, 9))


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "gallery.sqlite"
    path.write_bytes(b"not a database, but long enough to look like one" * 50)
    with pytest.raises(GalleryError, match=r"gallery\.sqlite cannot be used: file is not a database"):
        Store(tmp_path)
    path.unlink()
    sqlite3.connect(path).close()
    with pytest.raises(GalleryError, match=r"gallery\.sqlite cannot be used: no such table"):
        Store(tmp_path)
    path.unlink()
    store(tmp_path).set_fact("format", 2)
    with pytest.raises(GalleryError, match="is of format 2; this version reads 1"):
        Store(tmp_path)


def test_a_creation_that_was_killed_is_no_gallery(tmp_path: Path) -> None:
    (tmp_path / ".gallery.sqlite.new").write_bytes(b"half a file")
    with pytest.raises(GalleryError, match="no gallery in"):
        Store(tmp_path)
    assert len(store(tmp_path)) == 5


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_vectors_beyond_those_committed_are_written_over(tmp_path: Path, dtype: str) -> None:
    file = VectorFile(tmp_path / "v.bin", 3, dtype)
    assert file.rows(0).shape == (0, 3)
    file.append(vectors(4), after=0)
    file.append(vectors(1, 7), after=2)
    np.testing.assert_array_equal(file.rows(3), vectors(8)[[0, 1, 7]])
    with pytest.raises(GalleryError, match="cut short: it has 3 of 4 vectors"):
        file.append(vectors(1), after=4)
