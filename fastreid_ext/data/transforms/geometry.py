"""Affine maps of a batch, one matrix an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from fastreid_ext.data.transforms.base import Size, on_device

__all__ = ["affine", "affine_matrices", "rotation_matrices", "shear_matrices", "translation_matrices"]


def affine(
    images: Tensor, matrices: NDArray[np.floating[Any]], interpolation: str = "nearest", fill: float = 0
) -> Tensor:
    """Images whose pixels come from where an affine map says.

    A matrix maps a pixel of the result to a place in the image; both are counted in pixels from the image's centre, x
    to the right and y down.

    "nearest" takes one pixel, and costs a third of what "bilinear" does. "bilinear" mixes four, of which those outside
    of the image have the colour `fill`.

    Shape:
        images: (B, 3, H, W), uint8.
        matrices: (B, 2, 3).
        Result: (B, 3, H, W), uint8.

    Raises:
        ValueError: another interpolation than these two.
    """
    if interpolation not in ("nearest", "bilinear"):
        raise ValueError(f"interpolation {interpolation!r}: there are nearest and bilinear")
    if not images.numel():
        return images.clone()
    sample = _nearest if interpolation == "nearest" else _bilinear
    return sample(images, np.asarray(matrices, dtype=np.float64), fill)


def affine_matrices(
    *,
    angle: ArrayLike = 0.0,
    translate: tuple[ArrayLike, ArrayLike] = (0.0, 0.0),
    scale: ArrayLike = 1.0,
    shear: tuple[ArrayLike, ArrayLike] = (0.0, 0.0),
) -> NDArray[np.float64]:
    """Maps from the result to the image for a shear in y, then in x, then scaling, rotation and translation.

    The image is sheared by the tangent of an angle, scaled, turned clockwise and moved, as torchvision's `affine` does
    it. In its terms the result is the inverse of T·R·S·Shy·Shx about the centre.

    Args:
        angle: clockwise, in degrees.
        translate: pixels to the right and down.
        scale: enlarges where it is above 1.
        shear: in x and y, in degrees.

    Shape:
        angle, scale and each of translate and shear: (B,), or one number for all.
        Result: (B, 2, 3).
    """
    turn, shear_x, shear_y, size, right, down = np.broadcast_arrays(
        np.radians(angle), np.radians(shear[0]), np.radians(shear[1]), scale, *translate
    )
    upright, aslant = np.cos(turn - shear_y) / np.cos(shear_y), np.sin(turn - shear_y) / np.cos(shear_y)
    # The determinant of rotation and shears is one, so that the inverse needs no division but by the scale.
    linear = np.stack(
        [
            np.stack([np.cos(turn) - aslant * np.tan(shear_x), np.sin(turn) + upright * np.tan(shear_x)], -1),
            np.stack([-aslant, upright], -1),
        ],
        -2,
    )
    linear = linear / np.asarray(size, dtype=np.float64)[..., None, None]
    shift = -linear @ np.stack([right, down], -1).astype(np.float64)[..., None]
    return np.concatenate([linear, shift], -1).reshape(-1, 2, 3)


def rotation_matrices(angles: ArrayLike) -> NDArray[np.float64]:
    """Maps for a rotation counterclockwise about the centre, in degrees, as torchvision's `rotate` counts them.

    Shape:
        angles: (B,).
        Result: (B, 2, 3).
    """
    return affine_matrices(angle=-np.asarray(angles, dtype=np.float64))


def shear_matrices(slopes: ArrayLike, axis: str, size: Size) -> NDArray[np.float64]:
    """Maps for a shear that keeps the image's upper left corner where it is, as AutoAugment's do.

    Args:
        slopes: by how many pixels a pixel's source lies further along the axis, for each pixel off it.
        axis: "x" or "y".
        size: height and width of the images.

    Shape:
        slopes: (B,).
        Result: (B, 2, 3).
    """
    slopes = np.asarray(slopes, dtype=np.float64)
    matrices = translation_matrices(np.zeros_like(slopes), np.zeros_like(slopes))
    row = "xy".index(axis)
    matrices[:, row, 1 - row] = slopes
    matrices[:, row, 2] = slopes * size[row] / 2
    return matrices


def translation_matrices(right: ArrayLike, down: ArrayLike) -> NDArray[np.float64]:
    """Maps for a shift by so many pixels.

    Shape:
        right, down: (B,), or one number for all.
        Result: (B, 2, 3).
    """
    return affine_matrices(translate=(right, down))


def _mapped(images: Tensor, matrices: NDArray[np.float64]) -> Tensor:
    """Where the pixels of the result are taken to, x before y; (B, 2, H, W)."""
    y, x = (torch.arange(length, device=images.device) - (length - 1) / 2 for length in images.shape[-2:])
    by_x, by_y, shift = on_device(matrices, images)[..., None, None].unbind(2)
    return (by_y * y[:, None] + shift) + by_x * x


def _nearest(images: Tensor, matrices: NDArray[np.float64], fill: float) -> Tensor:
    height, width = images.shape[-2:]
    middle = np.array([[0, 0, (width - 1) / 2], [0, 0, (height - 1) / 2]])
    columns, rows = _mapped(images, matrices + middle).unbind(1)
    # A border of one pixel stands for all that lies outside of the image, so that no mask is needed.
    bordered = F.pad(images, (1, 1, 1, 1), value=fill).flatten(2)
    columns, rows = columns.clamp_(-1, width).round_(), rows.clamp_(-1, height).round_()
    # Whole numbers up to 2^24 are exact in float32, and computed faster than as integers.
    index = rows.mul_(width + 2).add_(columns).add_(width + 3).int().long()
    return bordered.gather(2, index.flatten(1)[:, None].expand(-1, images.shape[1], -1)).view_as(images)


def _bilinear(images: Tensor, matrices: NDArray[np.float64], fill: float) -> Tensor:
    height, width = images.shape[-2:]
    # grid_sample counts from -1 to 1.
    grid = _mapped(images, matrices * np.array([[2 / width], [2 / height]])).permute(0, 2, 3, 1)
    # Outside of the image there is nothing but zeros: `fill` is the zero of the levels that are sampled.
    levels = images.to(torch.float32, copy=True).sub_(fill)
    sampled = F.grid_sample(levels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.add_(fill).round_().to(torch.uint8)
