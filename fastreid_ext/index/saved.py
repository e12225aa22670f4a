"""Indices in files of faiss."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fastreid_ext.functional.distances import Metric
from fastreid_ext.index.base import IndexFileError
from fastreid_ext.index.engine import faiss_metric, faiss_module
from fastreid_ext.index.rows import Rows
from fastreid_ext.utils.files import atomic_write

__all__ = ["FlatVectors", "read_faiss", "write_faiss", "write_flat"]

_BUFFER = 2**20
_LISTS = (b"IwFl", b"IwPQ")


def write_faiss(path: str | os.PathLike[str], index: Any) -> None:
    """Writes an index of faiss, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    with atomic_write(path, "wb") as file:
        try:
            faiss = faiss_module()
            faiss.write_index(index, faiss.PyCallbackIOWriter(file.write, _BUFFER))
        except RuntimeError as error:
            raise OSError(f"{path} cannot be written: {_reason(error)}") from error


def write_flat(path: str | os.PathLike[str], dim: int, metric: Metric, rows: Iterable[Rows]) -> None:
    """Writes vectors as faiss' own exact index.

    Args:
        path: of the file.
        dim: of the vectors.
        metric: of the distances.
        rows: blocks of vectors, prepared for the metric.

    Raises:
        OSError: it cannot be written.
    """
    index = faiss_module().IndexFlat(dim, faiss_metric(metric))
    for block in rows:
        index.add(block)
    write_faiss(path, index)


def read_faiss(path: str | os.PathLike[str], *, mmap: bool = False) -> Any:
    """Reads an index of faiss.

    Args:
        path: of the file.
        mmap: leave in the file what faiss can search there, which is all but centroids and tables. Faiss before
            1.11 can do so with the lists of "ivf" and "ivfpq" only, and reads the others.

    Raises:
        IndexFileError: there is no such file, or it is cut short or something else.
    """
    faiss = faiss_module()
    if not Path(path).is_file():
        raise IndexFileError(f"no index file {Path(path).absolute()}")
    try:
        return faiss.read_index(os.fspath(path), _mmap_flag(faiss, Path(path)) if mmap else 0)
    except (RuntimeError, MemoryError) as error:
        raise IndexFileError(
            f"{Path(path).absolute()} is no file of an index, or cut short: build the index again ({_reason(error)})"
        ) from error


def _mmap_flag(faiss: Any, path: Path) -> int:
    with path.open("rb") as file:
        of_lists = file.read(4) in _LISTS
    return int(faiss.IO_FLAG_MMAP if of_lists else getattr(faiss, "IO_FLAG_MMAP_IFC", 0))


def _reason(error: BaseException) -> str:
    """What faiss says, without the names of its functions."""
    return str(error).rsplit("Error: ", 1)[-1].strip()


class FlatVectors:
    """The vectors of faiss' exact index, where they are."""

    def __init__(self, index: Any) -> None:
        # The index owns what the array shows.
        self._index = index
        self.shape = index.ntotal, index.d
        self._rows = faiss_module().rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(self.shape)

    def __getitem__(self, rows: Any) -> Any:
        return self._rows[rows]
