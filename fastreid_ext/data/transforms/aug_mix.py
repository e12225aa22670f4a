"""A mixture of an image and of several distorted copies of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.transforms import color
from fastreid_ext.data.transforms.base import Params, Size, on_device
from fastreid_ext.data.transforms.chunked import ChunkedTransform
from fastreid_ext.data.transforms.geometry import affine, rotation_matrices, shear_matrices, translation_matrices
from fastreid_ext.data.transforms.operations import Operation, apply_each, on_device_values
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["AugMix"]

# A chain of that weight cannot move a level by more than a half.
_NEGLIGIBLE = 1 / 512
# Weights of float32 add up to one only nearly; without this, rounding down would take a level from equal images.
_TOLERANCE = 1e-3


def _rotate(images: Tensor, degrees: NDArray[Any]) -> Tensor:
    return affine(images, rotation_matrices(degrees), "bilinear")


def _shear(axis: str) -> Operation:
    def shear(images: Tensor, slopes: NDArray[Any]) -> Tensor:
        height, width = images.shape[-2:]
        return affine(images, shear_matrices(slopes, axis, (height, width)), "bilinear")

    return shear


_OPERATIONS: dict[str, Operation] = {
    "autocontrast": lambda images, values: color.autocontrast(images),
    "equalize": lambda images, values: color.equalize(images),
    "posterize": on_device_values(color.posterize),
    "rotate": _rotate,
    "solarize": on_device_values(color.solarize),
    "shear_x": _shear("x"),
    "shear_y": _shear("y"),
    # By whole pixels, the nearest is all there is to interpolate.
    "translate_x": lambda images, values: affine(images, translation_matrices(values, 0.0)),
    "translate_y": lambda images, values: affine(images, translation_matrices(0.0, values)),
}


@TRANSFORMS.register(source="Hendrycks et al. 2020, arXiv:1912.02781")
class AugMix(ChunkedTransform):
    """AugMix: (1 - m)·image + m·Σ wᵢ·chainᵢ(image), m from a Beta and w from a Dirichlet distribution.

    Every chain is a row of random operations of a random magnitude. Rotations and shears interpolate bilinearly, on
    black; the result is rounded down. A chain whose weight is too small to be seen, as half of them are at an alpha of
    0.1, is not computed: the image stands in for it.

    FastReID draws and distorts the same, by Pillow, whose rounding differs a little, and whose bilinear shears blend no
    black into the outermost pixels.

    Args:
        severity: largest level of the operations, up to 10; levels are drawn from 0.1 to it.
        width: number of chains.
        depth: operations in each chain.
        alpha: parameter of both distributions; the smaller, the more one part of the mixture outweighs the others.
        prob: probability that an image is changed at all.

    Raises:
        ValueError: an argument out of its range.
    """

    @configurable
    def __init__(
        self, *, severity: float = 1.0, width: int = 3, depth: int = 1, alpha: float = 0.1, prob: float = 1.0
    ) -> None:
        super().__init__(prob=prob)
        if not 0.1 <= severity <= 10:
            raise ValueError(f"AugMix of severity {severity}: it must be from 0.1 to 10")
        if width < 1 or depth < 1 or alpha <= 0:
            raise ValueError(f"AugMix of width {width}, depth {depth} and alpha {alpha}: all must be positive")
        self.severity, self.width, self.depth, self.alpha = severity, width, depth, alpha

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `INPUT.AUGMIX`."""
        return {"prob": cfg.INPUT.AUGMIX.PROB}

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        """What is applied, and the weights of the mixture.

        Shape:
            operation, value: (B, width, depth).
            weight: (B, width + 1), of the image itself and of the chains.
        """
        shape = (count, self.width, self.depth)
        codes = rng.integers(len(_OPERATIONS), size=shape)
        level = rng.uniform(0.1, self.severity, shape) / 10
        sign = np.where(rng.random(shape) < 0.5, -1.0, 1.0)
        height, width = size
        values = {
            "posterize": 4 - np.floor(4 * level),
            "rotate": sign * np.floor(30 * level),
            "solarize": 256 - np.floor(256 * level),
            "shear_x": sign * 0.3 * level,
            "shear_y": sign * 0.3 * level,
            "translate_x": sign * np.floor(width / 3 * level),
            "translate_y": sign * np.floor(height / 3 * level),
        }
        chains = rng.dirichlet([self.alpha] * self.width, count)
        mix = rng.beta(self.alpha, self.alpha, (count, 1))
        return {
            "operation": codes,
            "value": np.choose(codes, [values.get(name, np.zeros(shape)) for name in _OPERATIONS]),
            "weight": np.concatenate([1 - mix, mix * chains], axis=1),
        }

    def apply_chunk(self, images: Tensor, params: Params) -> Tensor:
        weights = on_device(params["weight"], images).view(-1, self.width + 1, 1, 1, 1).unbind(1)
        mixture = (images * weights[0]).add_(_TOLERANCE)
        for chain in range(self.width):
            distorted = images
            for step in range(self.depth):
                codes, values = (params[name][:, chain, step] for name in ("operation", "value"))
                codes = np.where(params["weight"][:, chain + 1] < _NEGLIGIBLE, -1, codes)
                distorted = apply_each(distorted, codes, values, tuple(_OPERATIONS.values()))
            mixture.add_(distorted * weights[chain + 1])
        return mixture.to(torch.uint8)
