"""Indices of drawn vectors: building, memory, speed, recall."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.functional.distances import normalize
from fastreid_ext.index import ExactIndex, Index, Kind, build_index
from fastreid_ext.index.faiss_index import FaissIndex
from fastreid_ext.index.refined import RefinedIndex
from fastreid_ext.index.tuning import NEIGHBOURS, Neighbours, recall_at
from fastreid_ext.utils.logger import get_logger

__all__ = ["gallery"]

DIM = 512
QUERIES = 1000
KINDS: Sequence[Kind] = ("flat", "ivf", "hnsw", "ivfpq")
_IMAGES_OF_IDENTITY = 20
_BLOCK = 2**16
# Of the spread of identities: nearest images are mostly, not always, of the query's own identity.
_SPREAD = 0.7


@BENCHMARKS.register()
def gallery(options: Options) -> Report:
    """Indices of a gallery of 512 dimensions: build time, bytes a vector, queries a second, recall@10; on the CPU.

    "clusters" are twenty vectors an identity, as embeddings of a trained model have them; "noise" has no
    neighbourhoods at all, and is the worst that an approximate index can be given.
    """
    report = Report()
    centres = torch.randn(max(1, options.vectors // _IMAGES_OF_IDENTITY), DIM, generator=_seeded(2))
    for data, means in (("clusters", centres), ("noise", None)):
        vectors, queries = _drawn(options.vectors, means, seed=0), _drawn(QUERIES, means, seed=1)
        truth = ExactIndex(vectors).search(queries, NEIGHBOURS)
        for kind in options.kinds or KINDS:
            row = _measure(kind, vectors, queries, truth, options.repeats)
            # With millions of vectors, hours may lie between the first row and the table.
            get_logger(__name__).info(f"{data}: {row}")
            report.rows.append({"data": data, "vectors": options.vectors, **row})
            name = f"gallery.{kind}_{data}"
            report.figures |= {f"{name}_{what}": row[key] for what, key in _FIGURES.items()}
        del vectors
    return report


_FIGURES = {"build_s": "build s", "bytes": "bytes a vector", "queries_per_s": "queries/s", "recall": "recall@10"}


def _measure(kind: Kind, vectors: Tensor, queries: Tensor, truth: Neighbours, repeats: int) -> dict[str, Any]:
    started = time.perf_counter()
    index = build_index(vectors, kind=kind)
    built = time.perf_counter() - started
    alone = queries[:100]
    found = index.search(queries, NEIGHBOURS)
    together = _seconds(lambda: index.search(queries, NEIGHBOURS), repeats)
    one_by_one = _seconds(lambda: [index.search(query[None], NEIGHBOURS) for query in alone], repeats)
    return {
        "kind": kind,
        "build s": built,
        "bytes a vector": index.bytes_per_vector,
        "queries/s": len(queries) / together,
        "ms for one": 1000 * one_by_one / len(alone),
        f"recall@{NEIGHBOURS}": recall_at(found, truth),
        "a search sees": _looks(index),
    }


def _looks(index: Index) -> str:
    if isinstance(index, RefinedIndex):
        return f"{_looks(index.codes)}, {index.width} candidates a neighbour"
    if isinstance(index, FaissIndex):
        return f"{index.effort} candidates" if index.kind == "hnsw" else f"{index.effort} of {index.most_effort} lists"
    return "everything"


def _seconds(run: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return median(times)


def _drawn(number: int, centres: Tensor | None, *, seed: int) -> Tensor:
    """In blocks: nothing but the vectors themselves may fill the memory."""
    generator = _seeded(seed)
    vectors = torch.empty(number, DIM)
    for start in range(0, number, _BLOCK):
        part = vectors[start : start + _BLOCK]
        part.normal_(generator=generator)
        if centres is not None:
            part.mul_(_SPREAD).add_(centres[torch.randint(len(centres), (len(part),), generator=generator)])
        part.copy_(normalize(part))
    return vectors


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
