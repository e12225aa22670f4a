"""The usual way to rank and to re-rank, in NumPy with all distances in memory, which ours is measured against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["argsort_ranking", "dense_rerank"]

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]


def argsort_ranking(
    query_features: Floats,
    gallery_features: Floats,
    query_pids: Ints,
    gallery_pids: Ints,
    query_camids: Ints,
    gallery_camids: Ints,
    max_rank: int = 50,
) -> tuple[Floats, float]:
    """CMC and mAP by cosine distance under the camera rule: one product, one sort of everything, a loop over queries.

    Shape:
        query_features: (Q, D). gallery_features: (G, D).
        query_pids, query_camids: (Q,). gallery_pids, gallery_camids: (G,).
        CMC: (max_rank,).
    """
    distances = 1 - _directions(query_features) @ _directions(gallery_features).T
    order = distances.argsort(axis=1)
    precisions, curves = [], []
    for query, ranking in enumerate(order):
        same = gallery_pids[ranking] == query_pids[query]
        junk = same & (gallery_camids[ranking] == query_camids[query])
        matches = same[~junk]
        if not matches.any():
            continue
        found = matches.cumsum()
        curves.append(np.minimum(found[:max_rank], 1))
        places = np.flatnonzero(matches)
        precisions.append((found[places] / (places + 1)).mean())
    return np.mean(curves, axis=0), float(np.mean(precisions))


def dense_rerank(features: Floats, queries: int, *, k1: int = 20, k2: int = 6, lambda_value: float = 0.3) -> Floats:
    """Distances re-ranked with k-reciprocal neighbours, "paper" variant by cosine distance: N x N arrays, loops.

    Shape:
        features: (N, D), queries first. Result: (Q, G).

    Source: Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017, equations 3, 4,
    7, 10, 11 and 12.
    """
    directions = _directions(features)
    distances = (1 - directions @ directions.T).clip(0)
    np.fill_diagonal(distances, 0)
    nearest = np.argpartition(distances, range(k1 + 1), axis=1)[:, : k1 + 1].copy()
    encodings = _encodings(distances, nearest, k1)
    averaged = np.empty_like(encodings)
    for image, others in enumerate(nearest[:, :k2]):
        averaged[image] = encodings[others].mean(axis=0)
    del encodings
    jaccard = _jaccard(averaged, queries)
    return (1 - lambda_value) * jaccard + lambda_value * distances[:queries, queries:]


def _directions(features: Floats) -> Floats:
    directions: Floats = features / np.linalg.norm(features, axis=1, keepdims=True)
    return directions


def _encodings(distances: Floats, nearest: Ints, k1: int) -> Floats:
    half = [_reciprocal(nearest, image, round(k1 / 2) + 1) for image in range(len(nearest))]
    encodings = np.zeros_like(distances)
    for image in range(len(nearest)):
        members = _reciprocal(nearest, image, k1 + 1)
        extended = [members]
        for member in members:
            common = np.isin(half[member], members).sum()
            if 3 * common >= 2 * len(half[member]):
                extended.append(half[member])
        kept = np.unique(np.concatenate(extended))
        encodings[image, kept] = np.exp(-distances[image, kept])
    return encodings


def _reciprocal(nearest: Ints, image: int, k: int) -> Ints:
    """Those among the k nearest of an image which have it among theirs."""
    forward = nearest[image, :k]
    mutual: Ints = forward[(nearest[forward, :k] == image).any(axis=1)]
    return mutual


def _jaccard(encodings: Floats, queries: int) -> Floats:
    holders = [np.flatnonzero(column) for column in encodings.T]
    totals = encodings.sum(axis=1)
    distances = np.empty((queries, len(encodings) - queries), encodings.dtype)
    for query in range(queries):
        common = np.zeros(len(encodings), encodings.dtype)
        for item in np.flatnonzero(encodings[query]):
            images = holders[item]
            common[images] += np.minimum(encodings[query, item], encodings[images, item])
        distances[query] = (1 - common / (totals[query] + totals - common))[queries:]
    return distances
