"""Random patch."""

from __future__ import annotations

import math
from collections import deque

import torch
from torch import Tensor, nn

__all__ = ["RandomPatch"]


class RandomPatch(nn.Module):
    """Pastes a patch of an earlier image (OSNet's augmentation: Zhou et al., ICCV 2019).

    Each image gives a patch to a pool. Once the pool is large enough, an image gets, with probability `p`, a patch of
    it, turned upside down and mirrored at random. The pool is of the process: what an image gets depends on which
    images the same worker has seen, and a resumed run starts with an empty one.

    Args:
        p: probability of a patch.
        pool_size: patches that are kept. (OSNet's code keeps 50,000: over a gigabyte in each worker at 256x128.)
        min_pool: patches that must be there before the first is pasted.
        area: smallest and largest share of the image.
        ratio: smallest and largest height over width.

    Shape:
        image: (3, H, W).
        returns: (3, H, W).
    """

    def __init__(
        self,
        p: float = 0.5,
        *,
        pool_size: int = 1000,
        min_pool: int = 100,
        area: tuple[float, float] = (0.01, 0.5),
        ratio: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        super().__init__()
        self.p, self.min_pool, self.area, self.ratio = p, min_pool, area, ratio
        self.pool: deque[Tensor] = deque(maxlen=pool_size)

    def forward(self, image: Tensor) -> Tensor:
        self._keep_patch(image)
        if len(self.pool) < self.min_pool or _uniform(0, 1) >= self.p:
            return image
        patch = self.pool[int(torch.randint(len(self.pool), ()))]
        for axis in (-1, -2):
            if _uniform(0, 1) < 0.5:
                patch = patch.flip(axis)
        height, width = patch.shape[-2:]
        top, left = _corner(image, height, width)
        pasted = image.clone()
        pasted[:, top : top + height, left : left + width] = patch
        return pasted

    def _keep_patch(self, image: Tensor) -> None:
        """Adds a part of the image of random area and shape; after ten shapes that do not fit, none."""
        for _ in range(10):
            area = _uniform(*self.area) * image.shape[-2] * image.shape[-1]
            ratio = _uniform(*self.ratio)
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < height < image.shape[-2] and 0 < width < image.shape[-1]:
                top, left = _corner(image, height, width)
                self.pool.append(image[:, top : top + height, left : left + width].clone())
                return


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand(()))


def _corner(image: Tensor, height: int, width: int) -> tuple[int, int]:
    top = int(torch.randint(image.shape[-2] - height + 1, ()))
    left = int(torch.randint(image.shape[-1] - width + 1, ()))
    return top, left
