"""Indices by name: built, and read from files."""

from __future__ import annotations

import os
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from fastreid_ext.functional.distances import Metric, check_metric
from fastreid_ext.index.base import Index, IndexFileError, Kind, Vectors
from fastreid_ext.index.engine import faiss_module
from fastreid_ext.index.exact import ExactIndex
from fastreid_ext.index.faiss_index import FaissIndex
from fastreid_ext.index.kinds import LEAST_VECTORS, choose_kind, code_bytes, trained, training_size
from fastreid_ext.index.refined import RefinedIndex
from fastreid_ext.index.rows import Rows, blocks, check_shape, prepared, sample_ids
from fastreid_ext.index.saved import FlatVectors, read_faiss
from fastreid_ext.index.tuning import NEIGHBOURS, Neighbours, tune
from fastreid_ext.utils.logger import get_logger

__all__ = ["KINDS", "build_index", "check_request", "load_index"]

KINDS = ("auto", *get_args(Kind))
"""Names that `build_index` takes."""

_QUERIES = 500
# Held-out vectors are so few that the others are what they are.
_SHARE_OF_QUERIES = 20


def check_request(kind: str, recall: float, dim: int) -> None:
    """Refuses what `build_index` would refuse of any vectors so wide.

    Raises:
        ImportError: faiss is not installed, and the kind needs it.
        ValueError: the kind is unknown, the recall no share, or vectors cannot be cut into codes.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown index '{kind}': choose one of {', '.join(KINDS)}.")
    if not 0 < recall <= 1:
        raise ValueError(f"recall is a share, above 0 and at most 1; got {recall}.")
    if kind not in ("auto", "flat"):
        faiss_module()
    if kind == "ivfpq":
        code_bytes(dim)


def build_index(
    vectors: Vectors,
    *,
    kind: Kind | Literal["auto"] = "auto",
    metric: Metric = "cosine",
    recall: float = 0.95,
    seed: int = 0,
    threads: int | None = None,
) -> Index:
    """An index of vectors, of which blocks are read: a memory-mapped file need not fit into memory.

    - "flat" compares a query with every vector: exact, needs no other package, and no memory beyond the vectors'.
    - "ivf" looks at the vectors near the centroids that are near the query.
    - "hnsw" follows a graph of neighbours: quick to search, slow to build, and larger than the vectors.
    - "ivfpq" is "ivf" with an eighth of a byte a dimension or less; the vectors that were given stay in use,
      wherever they are, and candidates are ranked by them.
    - "auto" takes "flat", "ivf" or "ivfpq" by the number of vectors.

    Approximate ones are tried with vectors held out of them, and search as little as the recall asked for takes: it
    is logged, and a warning says where it cannot be reached. The same seed gives the same index on the same machine
    with the same number of threads; with "hnsw", whose links depend on which thread comes first, with one thread.

    Args:
        vectors: the first ones; `add` takes more.
        kind: of index.
        metric: of the distances.
        recall: share of the 10 nearest to be found.
        seed: of samples and of k-means.
        threads: of faiss; None for as many as torch has.

    Shape:
        vectors: (N, D).

    Raises:
        ImportError: faiss is not installed, and the kind is not "flat".
        ValueError: an argument is out of range, vectors are no matrix, not finite, or too few for the
            kind.
    """
    check_metric(metric)
    check_shape(vectors)
    check_request(kind, recall, vectors.shape[1])
    number, dim = vectors.shape
    chosen = choose_kind(number, dim) if kind == "auto" else kind
    exact = ExactIndex(vectors, metric)
    if chosen == "flat":
        return exact
    if number < LEAST_VECTORS[chosen]:
        raise ValueError(
            f"{chosen} is built from {LEAST_VECTORS[chosen]} vectors or more; there are {number}: take flat."
        )
    return _approximate(vectors, exact, chosen, recall, np.random.default_rng(seed), threads)


def load_index(
    path: str | os.PathLike[str],
    *,
    mmap: bool = False,
    vectors: Vectors | None = None,
    width: int = 8,
    threads: int | None = None,
) -> Index:
    """Reads what `Index.save` wrote, or faiss itself; effort is kept in the file, the measured recall is not.

    Args:
        path: of the file.
        mmap: leave vectors and codes in the file; such an index takes no more vectors, unless it is "flat".
        vectors: for "ivfpq", by which candidates are ranked; without them distances are those of the codes.
        width: candidates for each neighbour that is asked for.
        threads: of faiss; None for as many as torch has.

    Shape:
        vectors: (N, D).

    Raises:
        ImportError: faiss is not installed.
        IndexFileError: there is no such file, or it is cut short or something else.
    """
    faiss, found = faiss_module(), read_faiss(path, mmap=mmap)
    metric: Metric = "cosine" if found.metric_type == faiss.METRIC_INNER_PRODUCT else "euclidean"
    if isinstance(found, faiss.IndexFlat):
        return ExactIndex(FlatVectors(found), metric)
    kinds: dict[type, Kind] = {faiss.IndexIVFFlat: "ivf", faiss.IndexIVFPQ: "ivfpq", faiss.IndexIDMap: "hnsw"}
    if type(found) not in kinds:
        raise IndexFileError(f"{path} is an {type(found).__name__} of faiss, which save does not write")
    index = FaissIndex(found, kinds[type(found)], metric, threads=threads, read_only=mmap)
    if vectors is None or index.kind != "ivfpq":
        return index
    check_shape(vectors, index.dim)
    if len(index) != vectors.shape[0]:
        raise IndexFileError(f"{path} is of {len(index):,} vectors, not of these {vectors.shape[0]:,}")
    return RefinedIndex(index, ExactIndex(vectors, metric, check=False), width=width)


def _approximate(
    vectors: Vectors, exact: ExactIndex, kind: Kind, recall: float, rng: np.random.Generator, threads: int | None
) -> Index:
    number, metric = len(exact), exact.metric
    held = sample_ids(number, min(_QUERIES, max(1, number // _SHARE_OF_QUERIES)), rng)
    size = training_size(kind, number)
    sample = prepared(vectors[np.setdiff1d(sample_ids(number, size, rng), held)], metric)
    get_logger(__name__).info(f"index {kind} of {number:,} vectors, trained with {len(sample):,}")
    empty = trained(kind, sample, number, metric, seed=int(rng.integers(2**31)), threads=threads)
    del sample
    codes = FaissIndex(empty, kind, metric, threads=threads)
    for rows in blocks(vectors):
        ids = np.setdiff1d(np.arange(rows.start, rows.stop), held)
        codes.add_with_ids(vectors[rows][ids - rows.start], ids)
    index = RefinedIndex(codes, exact) if kind == "ivfpq" else codes
    queries = prepared(vectors[held], metric)
    reached = tune(index, queries, _neighbours_but(exact, queries, held), recall)
    codes.add_with_ids(queries, held)
    codes.recall = index.recall = reached
    _tell(index, codes, len(held), recall)
    return index


def _neighbours_but(exact: ExactIndex, queries: Rows, held: NDArray[np.int64]) -> Neighbours:
    """The nearest vectors that are not held out.

    Shape:
        queries: (Q, D). held: (Q,). Result: (Q, k) each.
    """
    k = min(NEIGHBOURS, len(exact) - len(held))
    distances, ids = exact.search(queries, min(len(exact), k + len(held)))
    # False comes before True, and nearest before farther ones.
    order = torch.isin(ids, torch.from_numpy(held)).int().argsort(dim=1, stable=True)[:, :k]
    return distances.gather(1, order), ids.gather(1, order)


def _tell(index: Index, codes: FaissIndex, queries: int, target: float) -> None:
    looks = f"{codes.effort} candidates" if codes.kind == "hnsw" else f"{codes.effort} of {codes.most_effort} lists"
    if isinstance(index, RefinedIndex):
        looks += f", {index.width} candidates a neighbour"
    log = get_logger(__name__)
    log.info(f"recall@{NEIGHBOURS} {index.recall:.3f} against flat, {queries} queries held out; searches see {looks}")
    if (index.recall or 0.0) < target:
        log.warning(f"recall@{NEIGHBOURS} {index.recall:.3f} is below {target}: that is what {index.kind} can do here")
