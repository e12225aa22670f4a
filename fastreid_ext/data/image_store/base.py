"""What an image store is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.utils.device import with_index

__all__ = ["ImageStore", "Rows"]


class Rows(NamedTuple):
    """Images in host memory by reference, so that whoever takes them copies them once and where they are needed.

    Shape:
        images: (N, 3, H, W), uint8, contiguous.
        rows: (B,), which of them.
    """

    images: Tensor
    rows: NDArray[np.int64]


class ImageStore(ABC):
    """Decoded and resized images by number.

    Args:
        paths: of the images, whose places are their numbers.
        size: height and width.
        device: where `fetch` puts images.

    Attributes:
        unreadable: errors of the images that cannot be had, as far as they are known: for any that were `prepare`d.
    """

    kind: str
    """The value of `DATALOADER.STORE` that asks for it."""

    def __init__(self, paths: Sequence[str], size: tuple[int, int], *, device: torch.device | str = "cpu") -> None:
        self.paths, self.size, self.device = paths, size, with_index(device)
        self.unreadable: dict[int, UnreadableImage] = {}

    def __len__(self) -> int:
        return len(self.paths)

    @property
    @abstractmethod
    def nbytes(self) -> int:
        """Bytes of pixels that it holds."""

    def prepare(self, indices: Sequence[int]) -> None:  # noqa: B027  # many have nothing to do
        """Finds out which of these images can be had, and makes `fetch` of the same ones quick."""

    @abstractmethod
    def fetch(self, indices: Sequence[int]) -> Rows | Tensor:
        """Readable images, which the caller must not change.

        On a CPU these are references to what is stored; on a GPU one batch, put together on the current stream without
        waiting for it.

        Shape:
            Result: on a GPU (B, 3, H, W), uint8.
        """
