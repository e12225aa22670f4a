"""Vectors in a file that only grows, and of which nobody reads beyond what was committed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.gallery.errors import GalleryError
from fastreid_ext.index.rows import blocks

__all__ = ["VectorFile"]

# Of the length of vectors in float16.
_NEARLY = 0.01


class VectorFile:
    """A matrix of `dim` columns, row by row, without a header.

    Args:
        path: of the file; it need not be there before the first row is.
        dim: of the vectors.
        dtype: "float32" or "float16".
    """

    def __init__(self, path: Path, dim: int, dtype: str) -> None:
        self.path, self.dim, self.dtype = path, dim, np.dtype(dtype)

    def append(self, rows: NDArray[Any], *, after: int) -> None:
        """Writes rows to the disk behind the first `after`, over what an interrupted writer may have left there.

        Shape:
            rows: (n, dim).

        Raises:
            GalleryError: there are not so many rows, or numbers are too large for the type.
        """
        self._check(after)
        with np.errstate(over="ignore"):
            narrow = np.ascontiguousarray(rows.astype(self.dtype))
        if not np.isfinite(narrow).all():
            raise GalleryError(f"embeddings are not finite in {self.dtype}: build the gallery with float32 vectors")
        with self.path.open("r+b" if self.path.exists() else "w+b") as file:
            file.truncate(after * self._stride)
            file.seek(0, os.SEEK_END)
            file.write(narrow.data)
            file.flush()
            os.fsync(file.fileno())

    def rows(self, number: int) -> NDArray[Any]:
        """The first rows, as the file has them, read when they are needed.

        Shape:
            Result: (number, dim).

        Raises:
            GalleryError: there are not so many.
        """
        self._check(number)
        if not number:
            return np.empty((0, self.dim), self.dtype)
        return np.memmap(self.path, self.dtype, mode="r", shape=(number, self.dim))

    def check(self, number: int, *, of_unit_length: bool) -> None:
        """Reads the first rows.

        Args:
            number: of rows.
            of_unit_length: all of them are.

        Raises:
            GalleryError: there are not so many, or they are damaged.
        """
        rows = self.rows(number)
        for block in blocks(rows):
            lengths = np.linalg.norm(rows[block].astype(np.float32), axis=1)
            spoilt = ~np.isfinite(lengths)
            if of_unit_length:
                # What a disk has lost is mostly zeros.
                spoilt |= np.abs(lengths - 1) > _NEARLY
            if spoilt.any():
                raise GalleryError(
                    f"{self.path.absolute()} is damaged, in row {block.start + int(spoilt.argmax()):,} for example: "
                    "only the model can make its vectors again, build the gallery anew"
                )

    def _check(self, number: int) -> None:
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < number * self._stride:
            raise GalleryError(
                f"{self.path.absolute()} is cut short: it has {size // self._stride:,} of {number:,} vectors, which "
                "only the model can make again: build the gallery anew"
            )

    @property
    def _stride(self) -> int:
        return self.dim * self.dtype.itemsize
