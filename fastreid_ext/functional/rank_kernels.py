"""Compiled counting behind `positive_ranks`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.utils.compiled import compiled

__all__ = ["count_ranks"]

_FEW = 512


@compiled
def count_ranks(
    ranks: NDArray[np.int64], distances: NDArray[Any], items: NDArray[np.int64], positive: NDArray[np.bool_]
) -> None:
    """Ranks that a stable sort of each row would give to its positives, as `positive_ranks` defines them.

    Args:
        ranks: takes them, (B, P).
        distances: (B, G).
        items: (B, P).
        positive: (B, P).
    """
    limits = np.empty(items.shape[1], distances.dtype)
    places = np.empty(items.shape[1], np.int64)
    for row in range(len(distances)):
        number = 0
        for k in range(items.shape[1]):
            if positive[row, k]:
                places[number] = items[row, k]
                limits[number] = distances[row, items[row, k]]
                number += 1
        ranks[row, :] = 0
        if number <= _FEW:
            _count_each(ranks, distances, row, limits, places, number)
        else:
            _count_by_bisection(ranks, distances, row, limits, places, number)


@compiled
def _count_each(
    ranks: NDArray[np.int64],
    distances: NDArray[Any],
    row: int,
    limits: NDArray[Any],
    places: NDArray[np.int64],
    number: int,
) -> None:
    """One pass over the row for each positive, several items at a time: quicker than a search for each item."""
    for k in range(number):
        before = 0
        for item in range(np.uintp(places[k])):
            before += distances[row, item] <= limits[k]
        for item in range(np.uintp(places[k] + 1), np.uintp(distances.shape[1])):
            before += distances[row, item] < limits[k]
        # Insertion into the ranks so far, which rise.
        slot = k
        while slot > 0 and ranks[row, slot - 1] > before + 1:
            ranks[row, slot] = ranks[row, slot - 1]
            slot -= 1
        ranks[row, slot] = before + 1


@compiled
def _count_by_bisection(
    ranks: NDArray[np.int64],
    distances: NDArray[Any],
    row: int,
    limits: NDArray[Any],
    places: NDArray[np.int64],
    number: int,
) -> None:
    """One pass over the row: each item is counted at the first positive behind it."""
    # Places rise, so a stable sort puts equal distances in gallery order.
    order = np.argsort(limits[:number], kind="mergesort")
    counts = np.zeros(number + 1, np.int64)
    for item in range(distances.shape[1]):
        distance = distances[row, item]
        if not distance <= limits[order[number - 1]]:
            continue
        low, high = 0, number
        while low < high:
            middle = (low + high) // 2
            limit, place = limits[order[middle]], places[order[middle]]
            if limit < distance or (limit == distance and place <= item):
                low = middle + 1
            else:
                high = middle
        counts[low] += 1
    before = 0
    for k in range(number):
        before += counts[k]
        ranks[row, k] = before + 1
