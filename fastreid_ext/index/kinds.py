"""The kinds of approximate index: what is trained for so many vectors."""

from __future__ import annotations

import math
from typing import Any

from fastreid_ext.functional.distances import Metric
from fastreid_ext.index.base import Kind
from fastreid_ext.index.engine import faiss_metric, faiss_module, faiss_threads
from fastreid_ext.index.rows import Rows

__all__ = ["LEAST_VECTORS", "choose_kind", "code_bytes", "lists_for", "trained", "training_size"]

LEAST_VECTORS: dict[Kind, int] = {"flat": 0, "ivf": 2, "hnsw": 2, "ivfpq": 300}
"""That an index of a kind can be built from; codes are 256 centroids, and some vectors are held out."""

# As `tools/benchmark.py gallery` measured: below, building takes longer than thousands of exact searches.
_MOST_FLAT = 50_000
# Lists of whole vectors take their memory: 8 GB of 512 dimensions. Beyond it, codes.
_MOST_IVF = 4_000_000
_POINTS_A_LIST = 40
_POINTS_OF_CODES = 32_768
_ITERATIONS = 10
_LINKS = 32
_BUILD_EFFORT = 80
# Dimensions that one byte of a code stands for.
_WIDTHS = range(8, 17)


def choose_kind(number: int, dim: int) -> Kind:
    """By number of vectors: "flat", then "ivf", then "ivfpq" where dimensions can be coded."""
    if number <= _MOST_FLAT:
        return "flat"
    return "ivfpq" if number > _MOST_IVF and _width(dim) else "ivf"


def code_bytes(dim: int) -> int:
    """Of a vector's code in "ivfpq".

    Raises:
        ValueError: vectors cannot be cut into codes.
    """
    if width := _width(dim):
        return dim // width
    raise ValueError(
        f"ivfpq cuts vectors into equal pieces of {_WIDTHS[0]} to {_WIDTHS[-1]} numbers, and {dim} dimensions cannot "
        "be cut so: take ivf or hnsw"
    )


def lists_for(number: int) -> int:
    """Of "ivf" and "ivfpq": a power of two about four roots of the number of vectors, with some vectors for each."""
    most = max(1, min(round(4 * math.sqrt(number)), number // _POINTS_A_LIST, 65_536))
    return int(2 ** (most.bit_length() - 1))


def training_size(kind: Kind, number: int) -> int:
    """Vectors that training needs, at most 2.6 million."""
    if kind == "hnsw":
        return 0
    return max(_POINTS_A_LIST * lists_for(number), _POINTS_OF_CODES if kind == "ivfpq" else 0)


def trained(kind: Kind, sample: Rows, number: int, metric: Metric, *, seed: int, threads: int | None) -> Any:
    """An empty index of faiss that takes vectors with ids.

    Args:
        kind: but "flat".
        sample: vectors to train with, prepared for the metric.
        number: of vectors that will be added.
        metric: of the distances.
        seed: of k-means.
        threads: of faiss.

    Shape:
        sample: (n, D); n may be 0 for "hnsw".

    Raises:
        ValueError: D cannot be divided into codes.
    """
    faiss, measure, dim = faiss_module(), faiss_metric(metric), sample.shape[1]
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(dim, _LINKS, measure)
        graph.hnsw.efConstruction = _BUILD_EFFORT
        index = faiss.IndexIDMap(graph)
        # Of Python: faiss' destructor must not outlive what it points to.
        graph.this.disown()
        index.own_fields = True
        return index
    index = _with_lists(kind, dim, lists_for(number), measure)
    index.cp.seed, index.cp.niter = seed, _ITERATIONS
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, len(sample)
    if kind == "ivfpq":
        index.pq.cp.seed, index.pq.cp.min_points_per_centroid = seed, 1
    with faiss_threads(threads):
        index.train(sample)
    return index


def _with_lists(kind: Kind, dim: int, lists: int, measure: int) -> Any:
    faiss = faiss_module()
    centroids = faiss.IndexFlat(dim, measure)
    if kind == "ivf":
        index = faiss.IndexIVFFlat(centroids, dim, lists, measure)
    else:
        index = faiss.IndexIVFPQ(centroids, dim, lists, code_bytes(dim), 8, measure)
    centroids.this.disown()
    index.own_fields = True
    return index


def _width(dim: int) -> int:
    """Of the pieces that a vector is cut into; 0 where it cannot be cut."""
    return next((width for width in _WIDTHS if dim % width == 0), 0)
