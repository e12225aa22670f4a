"""Python threads whose torch operations do not start teams of threads of their own."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from fastreid_ext.utils.dist import get_world_size

__all__ = [
    "block_pool",
    "default_threads",
    "in_order",
    "keep_torch_threads",
    "local_processes",
    "run_single_threaded",
    "single_threaded_pool",
]

T = TypeVar("T")
R = TypeVar("R")


def run_single_threaded() -> None:
    """Makes torch's operations of the calling thread run on that thread alone.

    Torch takes the number for threads that start later, too. Whoever starts a thread that calls this does so inside
    `keep_torch_threads`, and waits there until it was called; `single_threaded_pool` does all of it.
    """
    # A thread takes the common number at its first operation, unless it has asked before.
    torch.get_num_threads()
    torch.set_num_threads(1)


@contextmanager
def keep_torch_threads() -> Iterator[None]:
    """After the block this thread and those that start later have the number of torch threads that this one had."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def single_threaded_pool(workers: int, *, name: str = "") -> ThreadPoolExecutor:
    """Threads that `run_single_threaded`, all of them started; the calling thread's setting stays.

    Args:
        workers: how many.
        name: what debuggers call them.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name, initializer=run_single_threaded)
    # A pool starts a thread only for work that no idle thread can take: here each must wait for all the others.
    everybody = threading.Barrier(workers)
    with keep_torch_threads():
        try:
            for started in [pool.submit(everybody.wait) for _ in range(workers)]:
                started.result()
        except BaseException:
            everybody.abort()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return pool


@contextmanager
def block_pool(device: torch.device, blocks: int) -> Iterator[ThreadPoolExecutor | None]:
    """Single-threaded workers, as many as torch has threads on a CPU; None where one thread is enough."""
    workers = min(torch.get_num_threads(), blocks)
    if device.type != "cpu" or workers < 2:
        yield None
        return
    pool = single_threaded_pool(workers, name="blocks")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    function: Callable[[T], R], items: Iterator[T], *, pool: ThreadPoolExecutor | None, ahead: int = 1
) -> Generator[R, None, None]:
    """`map`, computed by a pool a few items ahead; an error comes in its place.

    Args:
        function: called in the threads of the pool.
        items: iterated in the calling thread.
        pool: None computes in the calling thread.
        ahead: items that are begun before the first is asked for.
    """
    if pool is None:
        yield from map(function, items)
        return
    pending: deque[Future[R]] = deque()
    while True:
        try:
            pending.append(pool.submit(function, next(items)))
        except StopIteration:
            break
        except Exception:
            while pending:
                yield pending.popleft().result()
            raise
        if len(pending) > ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def local_processes() -> int:
    """Processes of this run on this machine: `LOCAL_WORLD_SIZE` as torchrun sets it, else all of the run."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or get_world_size())


def default_threads() -> int:
    """This process's share of the cores that it may run on, at least one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // local_processes())
