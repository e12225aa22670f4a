"""Random rectangles within images, many at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.transforms.base import Size

__all__ = ["as_array", "draw_corners", "draw_shapes", "inside"]

TRIES = 10


def draw_shapes(
    rng: np.random.Generator,
    count: int,
    size: Size,
    *,
    area: tuple[float, float],
    ratio: tuple[float, float],
    largest: Size,
    log_ratio: bool = True,
) -> NDArray[np.int64]:
    """Heights and widths: of ten random shapes the first that fits, zero where none does.

    Args:
        rng: generator; what is drawn of it depends on `count` alone.
        count: number of rectangles.
        size: height and width of the images.
        area: smallest and largest share of the image, uniform between.
        ratio: smallest and largest height over width.
        largest: greatest height and width that fit; the smallest are one pixel.
        log_ratio: ratios are uniform in their logarithm.

    Shape:
        Result: (count, 2).
    """
    areas = size[0] * size[1] * rng.uniform(*area, (TRIES, count))
    if log_ratio:
        ratios = np.exp(rng.uniform(np.log(ratio[0]), np.log(ratio[1]), (TRIES, count)))
    else:
        ratios = rng.uniform(*ratio, (TRIES, count))
    shapes = np.rint(np.sqrt(np.stack([areas * ratios, areas / ratios], axis=-1))).astype(np.int64)
    fits = ((shapes >= 1) & (shapes <= largest)).all(axis=-1, keepdims=True)
    # Where none fits, argmax names the first, whose size is then nought.
    first = fits.argmax(axis=0)[None]
    return np.asarray(np.take_along_axis(shapes * fits, first, axis=0)[0])


def draw_corners(rng: np.random.Generator, size: Size, shapes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tops and lefts of rectangles of these shapes, uniform over all that lie within the image.

    Shape:
        shapes: (count, 2).
        Result: (count, 2).
    """
    return np.floor(rng.random(shapes.shape) * (np.array(size) - shapes + 1)).astype(np.int64)


def inside(boxes: Tensor, size: Size) -> Tensor:
    """Which pixels lie in their image's box.

    Shape:
        boxes: (B, 4), top, left, height, width.
        Result: (B, 1, H, W), bool.
    """
    top, left, height, width = boxes.unbind(1)
    rows = torch.arange(size[0], device=boxes.device) - top[:, None]
    columns = torch.arange(size[1], device=boxes.device) - left[:, None]
    in_rows = (rows >= 0) & (rows < height[:, None])
    in_columns = (columns >= 0) & (columns < width[:, None])
    return in_rows[:, None, :, None] & in_columns[:, None, None, :]


def as_array(values: Tensor) -> NDArray[Any]:
    """The same memory as an array, whose slices cost half of what a tensor's do; bfloat16, unknown to numpy, as bits.

    Shape:
        values: any, on the CPU.
        Result: the same.
    """
    known: Tensor = values.view(torch.int16) if values.dtype == torch.bfloat16 else values
    return known.numpy()
