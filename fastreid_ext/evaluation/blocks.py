"""Work on a distance matrix that is never there as a whole."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from fastreid_ext.evaluation.rank_inputs import DistanceSource
from fastreid_ext.functional.precision import full_precision
from fastreid_ext.utils.threads import block_pool, in_order

__all__ = ["map_blocks"]

T = TypeVar("T")

_BYTES = 2**28
# Of queries: with fewer, a matrix product is slow; with more, it gets no quicker.
_SMALLEST, _LARGEST = 64, 512
_TINY = 16


def map_blocks(
    function: Callable[[slice, Tensor], T],
    source: DistanceSource,
    *,
    queries: slice = slice(None),
    block_size: int | None = None,
    bytes_beside: int = 0,
) -> list[T]:
    """What `function` makes of each block of queries and its distances, in order.

    On a CPU as many blocks are worked on at once as torch has threads (fewer where the gallery is so large that blocks
    would be too small), each in one thread; `function` may write to the distances, and must not keep them.

    Args:
        function: called with the block's queries and distances (b, G).
        source: of the distances.
        queries: which; all by default.
        block_size: queries at once; by default what keeps all blocks in some 256 MB.
        bytes_beside: what `function` needs for a query.
    """
    start, stop, _ = queries.indices(source.shape[0])
    threads = torch.get_num_threads() if source.device.type == "cpu" else 1
    row_bytes = source.dtype.itemsize * source.shape[1] + bytes_beside
    workers = min(threads, max(1, _BYTES // (_SMALLEST * row_bytes)))
    size = block_size or _even(stop - start, workers, max(1, min(_LARGEST, _BYTES // (workers * row_bytes))))
    buffers = threading.local()

    def run(block: slice) -> T:
        if not hasattr(buffers, "block"):
            # A fresh one for each block would cost as much as the work on it.
            shape = min(size, stop - start), source.shape[1]
            buffers.block = torch.empty(shape, dtype=source.dtype, device=source.device)
        return function(block, source.rows(block, buffers.block[: block.stop - block.start]))

    blocks = [slice(first, min(first + size, stop)) for first in range(start, stop, size)]
    with full_precision(source.device.type), block_pool(source.device, min(len(blocks), workers)) as pool:
        return list(in_order(run, iter(blocks), pool=pool, ahead=workers))


def _even(queries: int, workers: int, largest: int) -> int:
    """Size of blocks of which each worker gets as many, unless they would be very small."""
    rounds = max(1, math.ceil(queries / (largest * workers)))
    return max(math.ceil(queries / (rounds * workers)), min(_TINY, largest))
