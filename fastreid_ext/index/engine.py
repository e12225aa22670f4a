"""faiss, loaded when it is needed, with as many threads as torch has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from fastreid_ext.functional.distances import Metric
from fastreid_ext.utils.env import require

__all__ = ["faiss_metric", "faiss_module", "faiss_threads"]


def faiss_module() -> Any:
    """The package.

    Raises:
        ImportError: it is not installed.
    """
    return require("faiss", "cpu", "an approximate index, or a file of an index,")


@contextmanager
def faiss_threads(number: int | None = None, *, most: int | None = None) -> Iterator[None]:
    """faiss' own team of threads has this number in the block; None for torch's. There are no more than `most`.

    The two packages bring an OpenMP each, whose teams do not know of each other: neither works while the other does.
    """
    faiss = faiss_module()
    before = faiss.omp_get_max_threads()
    wanted = number or torch.get_num_threads()
    faiss.omp_set_num_threads(wanted if most is None else max(1, min(wanted, most)))
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def faiss_metric(metric: Metric) -> int:
    """Of unit vectors, the inner product is the cosine."""
    faiss = faiss_module()
    return int(faiss.METRIC_INNER_PRODUCT if metric == "cosine" else faiss.METRIC_L2)
