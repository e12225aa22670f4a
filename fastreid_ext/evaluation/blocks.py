"""Work on a distance matrix that is never there as a whole."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from fastreid_ext.evaluation.rank_inputs import DistanceSource
from fastreid_ext.functional.distances import full_precision
from fastreid_ext.utils.threads import in_order, single_threaded_pool

__all__ = ["block_pool", "map_blocks"]

T = TypeVar("T")

# 256 MB of distances, but blocks that are large enough for a quick matrix product.
_ELEMENTS = 2**26
_SMALLEST, _LARGEST = 64, 512


def map_blocks(
    function: Callable[[slice, Tensor], T],
    source: DistanceSource,
    *,
    queries: slice = slice(None),
    block_size: int | None = None,
) -> list[T]:
    """What `function` makes of each block of queries and its distances, in order.

    On a CPU as many blocks are worked on at once as torch has threads, each in one thread; `function` may write to the
    distances, and must not keep them.

    Args:
        function: called with the block's queries and distances (b, G).
        source: of the distances.
        queries: which; all by default.
        block_size: queries at once; by default what keeps all blocks in some 256 MB.
    """
    on_cpu = source.device.type == "cpu"
    workers = torch.get_num_threads() if on_cpu else 1
    start, stop, _ = queries.indices(source.shape[0])
    size = block_size or min(_LARGEST, max(_SMALLEST, _ELEMENTS // (workers * source.shape[1])))
    buffers = threading.local()

    def run(block: slice) -> T:
        if not hasattr(buffers, "block"):
            # A fresh one for each block would cost as much as the work on it.
            shape = min(size, stop - start), source.shape[1]
            buffers.block = torch.empty(shape, dtype=source.dtype, device=source.device)
        return function(block, source.rows(block, buffers.block[: block.stop - block.start]))

    blocks = [slice(first, min(first + size, stop)) for first in range(start, stop, size)]
    with full_precision(source.device.type), block_pool(source.device, len(blocks)) as pool:
        return list(in_order(run, iter(blocks), pool=pool, ahead=workers))


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
