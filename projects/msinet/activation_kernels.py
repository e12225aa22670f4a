"""Compiled loops behind `maximum_activations`.

Indices of inner loops are unsigned: a check for negative ones would keep them from working on several items at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.utils.compiled import compiled

__all__ = ["anchor_gradient", "column_maxima", "other_gradient", "row_maxima"]


@compiled
def row_maxima(
    tile: NDArray[Any], first_row: int, first_column: int, maxima: NDArray[Any], positions: NDArray[Any]
) -> None:
    """Largest activation of each position of a tile's rows with each image of its columns, and where it is.

    Args:
        tile: of all positions of some anchors with some others, (b N, c, M).
        first_row: the anchor of the first row.
        first_column: the image of the first column.
        maxima: takes the largest, (A, B, N).
        positions: takes the first position of the other image that has it, (A, B, N).
    """
    rows, images, width = tile.shape
    size = maxima.shape[2]
    folded = np.empty((width + 1) // 2, tile.dtype)
    for row in range(rows):
        anchor, position = first_row + row // size, row % size
        for image in range(images):
            values = tile[row, image]
            best = _maximum(values, folded)
            where = np.int32(width)
            for k in range(np.uintp(width)):
                where = min(where, np.int32(k) if values[k] == best else np.int32(width))
            maxima[anchor, first_column + image, position] = best
            # Nothing equals NaN.
            positions[anchor, first_column + image, position] = where if where < width else 0


@compiled
def _maximum(values: NDArray[Any], folded: NDArray[Any]) -> Any:
    """Halves laid upon each other until one value is left: each step works on several at once."""
    width = len(values)
    half = (width + 1) // 2
    folded[:half] = values[:half]
    for k in range(np.uintp(width - half)):
        other = values[np.uintp(half) + k]
        folded[k] = folded[k] if folded[k] > other else other
    while half > 1:
        width, half = half, (half + 1) // 2
        for k in range(np.uintp(width - half)):
            other = folded[np.uintp(half) + k]
            folded[k] = folded[k] if folded[k] > other else other
    return folded[0]


@compiled
def column_maxima(
    tile: NDArray[Any], first_row: int, first_column: int, maxima: NDArray[Any], positions: NDArray[Any]
) -> None:
    """What `row_maxima` finds for the mirror image of the tile, from the tile itself.

    Args:
        tile: of all positions of some images with some others, (b N, c, N).
        first_row: the image of the first row.
        first_column: the anchor of the first column.
        maxima: takes the largest, (B, B, N).
        positions: takes the first position of the rows' image that has it, (B, B, N).
    """
    rows, anchors, size = tile.shape
    best = np.empty(size, tile.dtype)
    where = np.empty(size, np.int32)
    for image in range(rows // size):
        for anchor in range(anchors):
            best[:] = tile[image * size, anchor]
            where[:] = 0
            for row in range(1, size):
                values = tile[image * size + row, anchor]
                for k in range(np.uintp(size)):
                    better = values[k] > best[k]
                    best[k] = values[k] if better else best[k]
                    where[k] = np.int32(row) if better else where[k]
            maxima[first_column + anchor, first_row + image] = best
            for k in range(size):
                positions[first_column + anchor, first_row + image, k] = where[k]


@compiled
def anchor_gradient(
    gradient: NDArray[Any], anchor: int, given: NDArray[Any], positions: NDArray[Any], others: NDArray[Any]
) -> None:
    """Adds to the gradient of an anchor the vectors of the others that its maxima were found with.

    Args:
        gradient: of all anchors, (A, N, C); one of them is changed.
        anchor: which.
        given: gradient of the maxima, (A, B, N).
        positions: of the maxima, (A, B, N).
        others: (B, M, C).
    """
    _, images, size = given.shape
    channels = np.uintp(others.shape[2])
    for image in range(images):
        for position in range(size):
            weight = given[anchor, image, position]
            where = np.uintp(positions[anchor, image, position])
            for channel in range(channels):
                gradient[anchor, position, channel] += weight * others[image, where, channel]


@compiled
def other_gradient(
    gradient: NDArray[Any], image: int, given: NDArray[Any], positions: NDArray[Any], anchors: NDArray[Any]
) -> None:
    """Adds to the gradient of an image the vectors of the anchors whose maxima were found in it.

    Args:
        gradient: of all others, (B, M, C); one of them is changed.
        image: which.
        given: gradient of the maxima, (A, B, N).
        positions: of the maxima, (A, B, N).
        anchors: (A, N, C).
    """
    number, _, size = given.shape
    channels = np.uintp(anchors.shape[2])
    for anchor in range(number):
        for position in range(size):
            weight = given[anchor, image, position]
            where = np.uintp(positions[anchor, image, position])
            for channel in range(channels):
                gradient[image, where, channel] += weight * anchors[anchor, position, channel]
