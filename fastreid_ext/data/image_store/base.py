"""What an image store is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from fastreid_ext.data.image import UnreadableImage

__all__ = ["ImageStore"]


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
        self.paths, self.size, self.device = paths, size, torch.device(device)
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
    def fetch(self, indices: Sequence[int]) -> Sequence[Tensor] | Tensor:
        """Readable images, which the caller must not change.

        On a CPU these are views of what is stored, without a copy; on a GPU one batch, put together on the current
        stream without waiting for it.

        Shape:
            Result: on a CPU a sequence of (3, H, W), on a GPU (B, 3, H, W); uint8.
        """
