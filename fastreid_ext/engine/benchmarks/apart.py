"""Measurements in a process of their own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

import torch

from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.logger import get_logger

__all__ = ["measure_apart"]

T = TypeVar("T")


def measure_apart(measure: Callable[[], T], *, kept: bool, what: str) -> T:
    """What `measure` returns in a new process: what the C library does with memory cannot be taken back.

    Args:
        measure: can be sent to another process.
        kept: whether that process keeps the memory that it frees, as trainings do.
        what: is measured, for the log.
    """
    get_logger(__name__).info("measuring %s, memory %s", what, "kept" if kept else "freed")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_prepared, measure, kept, torch.get_num_threads()).result()


def _prepared(measure: Callable[[], T], kept: bool, threads: int) -> T:
    torch.set_num_threads(threads)
    if kept:
        keep_freed_memory()
    torch.manual_seed(0)
    return measure()
