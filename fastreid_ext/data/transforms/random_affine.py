"""Random rotation, scale and shear."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.transforms.base import Params, Size
from fastreid_ext.data.transforms.chunked import ChunkedTransform
from fastreid_ext.data.transforms.geometry import affine, affine_matrices
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["RandomAffine"]


@TRANSFORMS.register()
class RandomAffine(ChunkedTransform):
    """Random rotation, scale and shear about the centre of every image, on black, by the nearest pixel.

    FastReID means the same by `INPUT.AFFINE`, but stops with a TypeError under today's torchvision.

    Args:
        degrees: largest angle of the rotation, to either side.
        scale: smallest and largest scale.
        shear: largest angle of the shear in x, to either side.
        prob: probability that an image is changed at all.
    """

    chunk = 8

    @configurable
    def __init__(
        self,
        *,
        degrees: float = 10.0,
        scale: tuple[float, float] = (0.9, 1.1),
        shear: float = 0.1,
        prob: float = 1.0,
    ) -> None:
        super().__init__(prob=prob)
        self.degrees, self.scale, self.shear = degrees, scale, shear

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Nothing: `INPUT.AFFINE` is only a switch."""
        return {}

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        """`angle` and `shear` in degrees, and `scale`."""
        return {
            "angle": rng.uniform(-self.degrees, self.degrees, count),
            "scale": rng.uniform(*self.scale, count),
            "shear": rng.uniform(-self.shear, self.shear, count),
        }

    def apply_chunk(self, images: Tensor, params: Params) -> Tensor:
        return affine(
            images, affine_matrices(angle=params["angle"], scale=params["scale"], shear=(params["shear"], 0.0))
        )
