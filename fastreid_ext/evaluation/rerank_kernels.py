"""Compiled loops of re-ranking."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.utils.compiled import compiled

__all__ = ["mix_jaccard", "pair_products"]


@compiled
def pair_products(
    out: NDArray[Any], features: NDArray[Any], pointers: NDArray[Any], columns: NDArray[Any], start: int, stop: int
) -> None:
    """Products between the features of some rows and of what they hold in a sparse matrix.

    Args:
        out: takes them, (nnz,).
        features: (N, D).
        pointers: of the sparse matrix in rows, (N + 1,).
        columns: of its items, (nnz,).
        start: the first of the rows.
        stop: the row behind the last.
    """
    for row in range(start, stop):
        feature = features[row]
        for item in range(pointers[row], pointers[row + 1]):
            out[item] = np.dot(feature, features[columns[item]])


@compiled
def mix_jaccard(
    out: NDArray[Any],
    first_query: int,
    share: float,
    sums: NDArray[Any],
    pointers: NDArray[Any],
    columns: NDArray[Any],
    weights: NDArray[Any],
    holder_pointers: NDArray[Any],
    holders: NDArray[Any],
    holder_weights: NDArray[Any],
) -> None:
    """Mixes the Jaccard distance between encodings into other distances.

    Args:
        out: distances between some queries and the gallery, (b, G).
        first_query: which query its first row is.
        share: of the other distances.
        sums: of each encoding, (N,), those of the gallery last; N is Q + G, or G where the queries are the gallery.
        pointers: of the encodings as a sparse matrix in rows, (N + 1,).
        columns: of its items.
        weights: of its items.
        holder_pointers: of the gallery's encodings as a sparse matrix in columns, (N + 1,).
        holders: gallery images of its items.
        holder_weights: of its items.
    """
    first_image = len(sums) - out.shape[1]
    common = np.zeros(out.shape[1], np.float64)
    met = np.empty(out.shape[1], np.int64)
    # Not a sum of 0: weights of far images are 0, too.
    met_by = np.full(out.shape[1], -1, np.int64)
    for row in range(len(out)):
        query, number = first_query + row, 0
        for item in range(pointers[query], pointers[query + 1]):
            weight = weights[item]
            for holder in range(holder_pointers[columns[item]], holder_pointers[columns[item] + 1]):
                image = holders[holder]
                if met_by[image] != row:
                    met_by[image] = row
                    met[number] = image
                    number += 1
                common[image] += min(weight, holder_weights[holder])
        for image in range(np.uintp(out.shape[1])):
            out[row, image] = share * out[row, image] + (1 - share)
        for k in range(number):
            image = met[k]
            either = sums[query] + sums[first_image + image] - common[image]
            out[row, image] -= (1 - share) * common[image] / either
            common[image] = 0
