"""A learnt policy of pairs of operations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.transforms import color
from fastreid_ext.data.transforms.base import Params, Size
from fastreid_ext.data.transforms.chunked import ChunkedTransform
from fastreid_ext.data.transforms.geometry import affine, rotation_matrices, shear_matrices
from fastreid_ext.data.transforms.operations import Operation, apply_each, on_device_values
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["IMAGENET_POLICY", "AutoAugment"]

SubPolicy = tuple[tuple[str, float, int], tuple[str, float, int]]

_FILL = 128

IMAGENET_POLICY: tuple[SubPolicy, ...] = (
    (("posterize", 0.4, 8), ("rotate", 0.6, 9)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
    (("posterize", 0.6, 7), ("posterize", 0.6, 6)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("equalize", 0.4, 0), ("rotate", 0.8, 8)),
    (("solarize", 0.6, 3), ("equalize", 0.6, 0)),
    (("posterize", 0.8, 5), ("equalize", 1.0, 0)),
    (("rotate", 0.2, 3), ("solarize", 0.6, 8)),
    (("equalize", 0.6, 0), ("posterize", 0.4, 6)),
    (("rotate", 0.8, 8), ("color", 0.4, 0)),
    (("rotate", 0.4, 9), ("equalize", 0.6, 0)),
    (("equalize", 0.0, 0), ("equalize", 0.8, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("rotate", 0.8, 8), ("color", 1.0, 2)),
    (("color", 0.8, 8), ("solarize", 0.8, 7)),
    (("sharpness", 0.4, 7), ("invert", 0.6, 0)),
    (("shear_x", 0.6, 5), ("equalize", 1.0, 0)),
    (("color", 0.4, 0), ("equalize", 0.6, 0)),
    (("equalize", 0.4, 0), ("solarize", 0.2, 4)),
    (("solarize", 0.6, 5), ("autocontrast", 0.6, 0)),
    (("invert", 0.6, 0), ("equalize", 1.0, 0)),
    (("color", 0.6, 4), ("contrast", 1.0, 8)),
    (("equalize", 0.8, 0), ("equalize", 0.6, 0)),
)
"""The paper's policy of ImageNet: operations, their probabilities and their magnitudes from 0 to 9."""


def _rotate(images: Tensor, degrees: NDArray[Any]) -> Tensor:
    return affine(images, rotation_matrices(degrees), fill=_FILL)


def _shear_x(images: Tensor, slopes: NDArray[Any]) -> Tensor:
    height, width = images.shape[-2:]
    return affine(images, shear_matrices(slopes, "x", (height, width)), fill=_FILL)


_OPERATIONS: dict[str, Operation] = {
    "autocontrast": lambda images, values: color.autocontrast(images),
    "color": on_device_values(color.saturation),
    "contrast": on_device_values(color.contrast),
    "equalize": lambda images, values: color.equalize(images),
    "invert": lambda images, values: color.invert(images),
    "posterize": on_device_values(color.posterize),
    "rotate": _rotate,
    "sharpness": on_device_values(color.sharpness),
    "shear_x": _shear_x,
    "solarize": on_device_values(color.solarize),
}
_NAMES = list(_OPERATIONS)
_SIGNED = ("color", "contrast", "rotate", "sharpness", "shear_x")
_FACTORS = ("color", "contrast", "sharpness")


@TRANSFORMS.register(source="Cubuk et al. 2019, arXiv:1805.09501")
class AutoAugment(ChunkedTransform):
    """ImageNet's AutoAugment policy, on grey, by the nearest pixel.

    Two operations in a row, of which each may fall away. Magnitudes are those of torchvision's AutoAugment.

    FastReID applies its version of the policy by Pillow, to the stored image, of any size; here the image has been
    resized.

    Args:
        prob: probability that an image is changed at all.
    """

    @configurable
    def __init__(self, *, prob: float = 0.1) -> None:
        super().__init__(prob=prob)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `INPUT.AUTOAUG`."""
        return {"prob": cfg.INPUT.AUTOAUG.PROB}

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        """`operation` (B, 2), a number or -1 for none, and its `value` (B, 2)."""
        policies = rng.integers(len(IMAGENET_POLICY), size=count)
        happens = rng.random((count, 2)) < _PROBS[policies]
        negative = rng.random((count, 2)) < 0.5
        codes = _CODES[policies]
        values = _VALUES[negative.astype(np.intp), policies[:, None], np.arange(2)]
        return {"operation": np.where(happens, codes, -1), "value": values}

    def apply_chunk(self, images: Tensor, params: Params) -> Tensor:
        for codes, values in zip(params["operation"].T, params["value"].T, strict=True):
            images = apply_each(images, codes, values, tuple(_OPERATIONS.values()))
        return images


def _value(name: str, magnitude: int, sign: int) -> float:
    """What an operation is called with."""
    part = magnitude / 9
    size = {
        "posterize": float(np.rint(8 - 4 * part)),
        "solarize": 255 * (1 - part),
        "rotate": 30 * part,
        "shear_x": 0.3 * part,
        **dict.fromkeys(_FACTORS, 0.9 * part),
    }.get(name, 0.0)
    signed = sign * size if name in _SIGNED else size
    return 1 + signed if name in _FACTORS else signed


_CODES = np.array([[_NAMES.index(name) for name, _, _ in pair] for pair in IMAGENET_POLICY])
_PROBS = np.array([[prob for _, prob, _ in pair] for pair in IMAGENET_POLICY])
# By sign (positive, negative), policy and place.
_VALUES = np.array(
    [[[_value(name, magnitude, sign) for name, _, magnitude in pair] for pair in IMAGENET_POLICY] for sign in (1, -1)]
)
