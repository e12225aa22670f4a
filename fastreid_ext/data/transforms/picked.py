"""A batch on its way through the transforms, on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.transforms.kernels import CONSTANT, place_windows

__all__ = ["Picked"]


class Picked:
    """Images of a store, of which some have been replaced; none is copied before `place`.

    Args:
        images: a store's.
        rows: which of them.

    Shape:
        images: (N, 3, H, W), uint8, in host memory.
        rows: (B,); None for all of them in order.
    """

    def __init__(self, images: Tensor, rows: NDArray[np.int64] | None = None) -> None:
        self.images = images.contiguous()
        self.rows = np.arange(len(images)) if rows is None else rows
        self.changed = self.images[:0]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.images.shape[2], self.images.shape[3]

    def take(self, places: NDArray[np.int64]) -> Tensor:
        """Copies of some images of the batch.

        Shape:
            places: (n,).
            Result: (n, 3, H, W).
        """
        rows = self.rows[places]
        if (rows >= 0).all():
            return self.images[torch.from_numpy(rows)]
        return torch.stack([self.images[row] if row >= 0 else self.changed[-1 - row] for row in rows.tolist()])

    def replaced(self, places: NDArray[np.int64], images: Tensor) -> Picked:
        """The same batch with other images in some places; all of them may be of another size.

        Shape:
            places: (n,), in order.
            images: (n, 3, H, W).
        """
        if len(places) == len(self):
            return Picked(images)
        batch = Picked(self.images, self.rows.copy())
        batch.rows[places] = -1 - len(self.changed) - np.arange(len(places))
        batch.changed = torch.cat([self.changed, images])
        return batch

    def place(
        self,
        out: Tensor,
        *,
        shifts: NDArray[np.int64] | None = None,
        flips: NDArray[np.bool_] | None = None,
        mode: int = CONSTANT,
        mean: Tensor | None = None,
        factor: Tensor | None = None,
        boxes: NDArray[np.int64] | None = None,
        colours: NDArray[Any] | None = None,
    ) -> Tensor:
        """Writes the images in one pass: moved, mirrored, normalised and erased as far as asked; see `place_windows`.

        Shape:
            out: (B, 3, H, W), contiguous or channels last.
            shifts: (B, 2).
            flips: (B,).
            mean, factor: 3 values.
            boxes: (B, 4).
            colours: (B, 3).
            Result: `out`.

        Raises:
            IndexError: an image that is not in the store.
        """
        count = len(self)
        if not out.numel():
            return out
        if self.rows.min() < -len(self.changed) or self.rows.max() >= len(self.images):
            raise IndexError(f"images {self.rows.min()} to {self.rows.max()} of a store of {len(self.images)}")
        channels_last = not out.is_contiguous()
        memory = out.permute(0, 2, 3, 1) if channels_last else out
        place_windows(
            memory.reshape(count, -1).numpy(),
            self.images.numpy(),
            self.changed.numpy(),
            self.rows,
            np.zeros((count, 2), dtype=np.int64) if shifts is None else shifts,
            np.zeros(count, dtype=np.bool_) if flips is None else flips,
            mode,
            np.zeros(3, dtype=np.float32) if mean is None else mean.flatten().numpy(),
            np.ones(3, dtype=np.float32) if factor is None else factor.flatten().numpy(),
            np.zeros((count, 4), dtype=np.int64) if boxes is None else boxes,
            np.zeros((count, 3), dtype=np.float32) if colours is None else colours.astype(np.float32),
            channels_last,
        )
        return out
