"""Transforms of many small steps."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from fastreid_ext.data.transforms.base import BatchTransform, Params, choose

__all__ = ["ChunkedTransform"]


class ChunkedTransform(BatchTransform):
    """A transform that a processor applies to few images at a time, and a GPU to all.

    What lies between two steps on few images stays in the cache, in memory that was used before. One image has one
    operation at a time, and need not be picked from a batch and put back.
    """

    chunk = 1
    """Images at a time, on a processor."""

    def apply(self, images: Tensor, params: Params) -> Tensor:
        if images.is_cuda or len(images) <= self.chunk:
            return self.apply_chunk(images, params)
        parts = (slice(start, start + self.chunk) for start in range(0, len(images), self.chunk))
        return torch.cat([self.apply_chunk(images[part], choose(params, part)) for part in parts])

    @abstractmethod
    def apply_chunk(self, images: Tensor, params: Params) -> Tensor:
        """`apply` for some of the images.

        Shape:
            images: (B, 3, H, W), uint8.
            params: arrays (B, ...).
            Result: (B, 3, H, W), uint8.
        """
