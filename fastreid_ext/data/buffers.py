"""Memory for batches that is used again and again."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BufferPool"]

_KEPT = 8


class BufferPool:
    """Tensors on the CPU whose memory comes back when the last tensor over it is gone.

    Whoever keeps a tensor, a view of it or a graph that needs it keeps its memory: nothing is ever overwritten.

    Args:
        dtype: of the tensors.
        memory_format: contiguous or channels last.
    """

    def __init__(self, dtype: torch.dtype, memory_format: torch.memory_format = torch.contiguous_format) -> None:
        self.dtype, self.memory_format = dtype, memory_format
        self._free: list[NDArray[np.uint8]] = []

    def take(self, shape: tuple[int, ...]) -> Tensor:
        """A tensor with arbitrary contents.

        Shape:
            Result: (B, C, H, W), as `shape` says.
        """
        batch, channels, height, width = shape
        needed = batch * channels * height * width * self.dtype.itemsize
        if not needed:
            return torch.empty(shape, dtype=self.dtype, memory_format=self.memory_format)
        memory = self._reused(needed)
        # Torch holds this view, and nothing else does: its end is the end of all tensors over it.
        view = memory[:needed]
        weakref.finalize(view, self._give_back, memory).atexit = False
        flat = torch.from_numpy(view).view(self.dtype)
        if self.memory_format is torch.channels_last:
            return flat.view(batch, height, width, channels).permute(0, 3, 1, 2)
        return flat.view(batch, channels, height, width)

    def _reused(self, needed: int) -> NDArray[np.uint8]:
        while True:
            try:
                memory = self._free.pop()
            except IndexError:
                return np.empty(needed, dtype=np.uint8)
            if memory.nbytes >= needed:
                return memory

    def _give_back(self, memory: NDArray[Any]) -> None:
        if len(self._free) < _KEPT:
            self._free.append(memory)
