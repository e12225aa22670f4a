"""From bytes to normalised floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.data.buffers import BufferPool
from fastreid_ext.data.transforms.picked import Picked

__all__ = ["Normalize"]


class Normalize:
    """Subtracts the mean of each colour and multiplies by one over its standard deviation.

    On a CPU the results lie in buffers that are used again once nobody holds them: memory fresh from the system costs
    many times what is computed in it.

    Args:
        mean: of each colour, on the scale of bytes.
        std: of each colour, on the scale of bytes.
        channels_last: lays the results out channels last.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, channels_last: bool = False) -> None:
        self.mean, deviation = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (mean, std))
        self.factor = deviation.reciprocal()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._scales: dict[torch.device, tuple[Tensor, Tensor]] = {}
        self._buffers = BufferPool(torch.float32, self.memory_format)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised images in memory of their own.

        Shape:
            images: (B, 3, H, W), uint8.
            Result: (B, 3, H, W), float32.
        """
        if not images.is_cuda:
            return self.place(Picked(images))
        if images.device not in self._scales:
            self._scales[images.device] = self.mean.to(images.device), self.factor.to(images.device)
        mean, factor = self._scales[images.device]
        return (images - mean).mul_(factor).contiguous(memory_format=self.memory_format)

    def place(self, batch: Picked, **changes: Any) -> Tensor:
        """The batch, normalised and in the same pass changed as `Picked.place` can.

        Shape:
            Result: (B, 3, H, W), float32.
        """
        out = self._buffers.take((len(batch), 3, *batch.size))
        return batch.place(out, mean=self.mean, factor=self.factor, **changes)
