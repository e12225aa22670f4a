"""Compiled selection of nearest neighbours out of tiles of a distance matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.utils.compiled import compiled

__all__ = ["offer_tile"]

_STEP = 64


@compiled
def offer_tile(
    tile: NDArray[Any],
    first_row: int,
    first_column: int,
    mirrored: bool,
    distances: NDArray[Any],
    indices: NDArray[np.int64],
    limits: NDArray[Any],
) -> None:
    """Puts what is near into the lists of its row and, for a tile off the diagonal, of its column.

    Lists are ordered by distance, then index. Almost all items are further than the last of their list, which steps of
    many items at once find out.

    Args:
        tile: distances between some items and some others, (b, c).
        first_row: which item the first row of the tile is.
        first_column: which item its first column is.
        mirrored: offer rows to columns, too.
        distances: of the k nearest so far, for each item, (N, k).
        indices: which items these are, (N, k).
        limits: the last column of `distances`, (N,).
    """
    rows, columns = tile.shape
    for i in range(rows):
        row = first_row + i
        for start in range(0, columns, _STEP):
            stop = min(start + _STEP, columns)
            limit = limits[row]
            near = 0
            if mirrored:
                for j in range(np.uintp(start), np.uintp(stop)):
                    near += (tile[i, j] <= limit) | (tile[i, j] <= limits[np.uintp(first_column) + j])
            else:
                for j in range(np.uintp(start), np.uintp(stop)):
                    near += tile[i, j] <= limit
            if near:
                for j in range(np.uintp(start), np.uintp(stop)):
                    if tile[i, j] <= limits[row]:
                        _insert(distances, indices, limits, row, tile[i, j], first_column + j)
                    if mirrored and tile[i, j] <= limits[np.uintp(first_column) + j]:
                        _insert(distances, indices, limits, first_column + j, tile[i, j], row)


@compiled
def _insert(
    distances: NDArray[Any], indices: NDArray[np.int64], limits: NDArray[Any], row: int, distance: float, item: int
) -> None:
    last = distances.shape[1] - 1
    if distance == limits[row] and item > indices[row, last]:
        return
    slot = last
    while slot > 0 and (
        distances[row, slot - 1] > distance or (distances[row, slot - 1] == distance and indices[row, slot - 1] > item)
    ):
        distances[row, slot] = distances[row, slot - 1]
        indices[row, slot] = indices[row, slot - 1]
        slot -= 1
    distances[row, slot] = distance
    indices[row, slot] = item
    limits[row] = distances[row, last]
