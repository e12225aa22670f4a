"""The toy task's steps for many candidates, compiled."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.utils.compiled import compiled

__all__ = ["class_cosines", "count_assigned", "descend"]

Numbers = NDArray[np.float64]


@compiled
def class_cosines(
    embeddings: Numbers, weights: Numbers, pids: NDArray[np.int64], own: Numbers, others: Numbers
) -> None:
    """Cosines of embeddings with the weights of their own class, and of the others.

    Args:
        embeddings: of each candidate, (L, B, D).
        weights: of its classes, (L, C, D).
        pids: class of each embedding, (B,).
        own: takes the cosines of the own class, (L, B).
        others: takes those of the others, embedding by embedding, (L, B * (C - 1)).
    """
    count, batch, _ = embeddings.shape
    classes = weights.shape[1]
    lengths = np.empty(classes)
    for k in range(count):
        _lengths(weights[k], lengths)
        place = 0
        for i in range(batch):
            length = _length(embeddings[k, i])
            for c in range(classes):
                cosine = _product(embeddings[k, i], weights[k, c]) / (length * lengths[c])
                if c == pids[i]:
                    own[k, i] = cosine
                else:
                    others[k, place] = cosine
                    place += 1


@compiled
def descend(
    embeddings: Numbers,
    weights: Numbers,
    pids: NDArray[np.int64],
    scales: Numbers,
    own: tuple[Numbers, Numbers, Numbers],
    others: tuple[Numbers, Numbers, Numbers],
    learning_rate: float,
) -> None:
    """One step of SGD on the mean cross entropy, in place.

    Args:
        embeddings: of each candidate, (L, B, D).
        weights: of its classes, (L, C, D).
        pids: class of each embedding, (B,).
        scales: of each candidate, (L,).
        own: cosines of the own class, t of them, and t', (L, B) each.
        others: cosines of the others, n of them, and n', (L, B * (C - 1)) each.
        learning_rate: of the step.
    """
    count, batch, width = embeddings.shape
    classes = weights.shape[1]
    gradient = np.empty(classes)
    x, of_x = np.empty(width), np.empty(width)
    w, of_w = np.empty((classes, width)), np.empty((classes, width))
    for k in range(count):
        of_w[:] = 0
        for c in range(classes):
            w[c] = weights[k, c] / _length(weights[k, c])
        for i in range(batch):
            length = _length(embeddings[k, i])
            x[:] = embeddings[k, i] / length
            of_x[:] = 0
            first = i * (classes - 1)
            _cosine_gradient(
                gradient, pids[i], scales[k], own[1][k, i], own[2][k, i], others[1][k], others[2][k], first
            )
            for c in range(classes):
                cosine = own[0][k, i] if c == pids[i] else others[0][k, first + c - (c > pids[i])]
                step = learning_rate * gradient[c] / batch
                for d in range(width):
                    of_x[d] += step * (w[c, d] - cosine * x[d])
                    of_w[c, d] += step * (x[d] - cosine * w[c, d])
            embeddings[k, i] -= of_x / length
        for c in range(classes):
            weights[k, c] -= of_w[c] / _length(weights[k, c])


@compiled
def count_assigned(embeddings: Numbers, pids: NDArray[np.int64], classes: int, counts: NDArray[np.int64]) -> None:
    """How many embeddings lie nearest, by cosine, to the centre of their own class: the mean of unit embeddings.

    An embedding that is as near to another centre does not count.

    Args:
        embeddings: of each candidate, (L, B, D).
        pids: class of each embedding, (B,).
        classes: their number C.
        counts: takes the numbers, (L,).
    """
    count, batch, width = embeddings.shape
    centres = np.empty((classes, width))
    lengths = np.empty(classes)
    for k in range(count):
        centres[:] = 0
        for i in range(batch):
            centres[pids[i]] += embeddings[k, i] / _length(embeddings[k, i])
        _lengths(centres, lengths)
        counts[k] = 0
        for i in range(batch):
            own = _product(embeddings[k, i], centres[pids[i]]) / lengths[pids[i]]
            nearest = True
            for c in range(classes):
                nearest &= c == pids[i] or own > _product(embeddings[k, i], centres[c]) / lengths[c]
            counts[k] += nearest


@compiled
def _cosine_gradient(
    gradient: Numbers,
    pid: int,
    scale: float,
    t: float,
    t_slope: float,
    n: Numbers,
    n_slope: Numbers,
    first: int,
) -> None:
    """Derivatives of one embedding's cross entropy with respect to its cosines, from `first` on in n."""
    largest = t
    for place in range(first, first + len(gradient) - 1):
        largest = max(largest, n[place])
    total = math.exp(scale * (t - largest))
    for c in range(len(gradient)):
        if c != pid:
            gradient[c] = math.exp(scale * (n[first + c - (c > pid)] - largest))
            total += gradient[c]
    own = 0.0
    for c in range(len(gradient)):
        if c != pid:
            share = gradient[c] / total
            own += share
            gradient[c] = scale * n_slope[first + c - (c > pid)] * share
    gradient[pid] = -scale * t_slope * own


@compiled
def _lengths(rows: Numbers, lengths: Numbers) -> None:
    for i in range(len(rows)):
        lengths[i] = _length(rows[i])


@compiled
def _length(x: Numbers) -> float:
    return math.sqrt(_product(x, x))


@compiled
def _product(x: Numbers, y: Numbers) -> float:
    total = 0.0
    for d in range(len(x)):
        total += x[d] * y[d]
    return total
