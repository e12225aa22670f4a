"""From bytes to normalised floats."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid_ext.data.buffers import BufferPool

__all__ = ["Normalize"]

# Floats of that many images stay in a processor's cache between the passes over them.
_CHUNK = 8


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
        # A product costs half of what a quotient does.
        self.per_std = deviation.reciprocal()
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._buffers = BufferPool(torch.float32, self.memory_format)

    def __call__(self, images: Sequence[Tensor] | Tensor) -> Tensor:
        """Normalised images in memory of their own.

        Shape:
            images: (B, 3, H, W) on any device, or B of (3, H, W) on a CPU; uint8.
            Result: (B, 3, H, W), float32.
        """
        if isinstance(images, Tensor) and images.is_cuda:
            self.mean, self.per_std = self.mean.to(images.device), self.per_std.to(images.device)
            normalized = (images - self.mean).mul_(self.per_std)
            return normalized.contiguous(memory_format=self.memory_format)
        if not len(images):
            return torch.empty(0, 3, 0, 0)
        normalized = self.empty((len(images), *images[0].shape))
        self.into(normalized, images)
        return normalized

    def empty(self, shape: tuple[int, ...]) -> Tensor:
        """Memory for results on a CPU, with arbitrary contents.

        Shape:
            Result: (B, 3, H, W), as `shape` says, float32.
        """
        return self._buffers.take(shape)

    def into(self, normalized: Tensor, images: Sequence[Tensor] | Tensor) -> None:
        """Writes the normalised images into `normalized`.

        Shape:
            normalized: (B, 3, H, W), float32, on a CPU.
            images: (B, 3, H, W), or B of (3, H, W); uint8.
        """
        interleave = self.memory_format is torch.channels_last
        scratch = torch.empty(min(_CHUNK, len(images)), *images[0].shape) if interleave else normalized
        for start in range(0, len(images), _CHUNK):
            part = images[start : start + _CHUNK]
            chunk = scratch[: len(part)] if interleave else normalized[start : start + _CHUNK]
            if isinstance(part, Tensor):
                chunk.copy_(part)
            else:
                for place, image in zip(chunk, part, strict=True):
                    place.copy_(image)
            chunk.sub_(self.mean).mul_(self.per_std)
            if interleave:
                normalized[start : start + _CHUNK].copy_(chunk)
