"""Compiled loops over pixels: in one pass what takes array operations five.

They run without Python's global lock. Compiled code is kept beside this file, else in numba's cache folder.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.utils.compiled import compiled

__all__ = ["CONSTANT", "EDGE", "REFLECT", "SYMMETRIC", "equalize_planes", "place_windows"]

CONSTANT, EDGE, REFLECT, SYMMETRIC = range(4)


@compiled
def place_windows(
    out: NDArray[Any],
    images: NDArray[np.uint8],
    changed: NDArray[np.uint8],
    rows: NDArray[np.int64],
    shifts: NDArray[np.int64],
    flips: NDArray[np.bool_],
    mode: int,
    mean: NDArray[np.float32],
    factor: NDArray[np.float32],
    boxes: NDArray[np.int64],
    colours: NDArray[np.float32],
    channels_last: bool,
) -> None:
    """Windows of padded images, mirrored, normalised and erased where asked.

    Args:
        out: takes them, as they lie in memory; floats, or bytes with a mean of 0 and a factor of 1.
        images: of a store.
        changed: images that are not as they are stored.
        rows: which of `images` a window shows; -1 - k for the k-th of `changed`.
        shifts: pixels by which a window lies below, and to the right of, its image.
        flips: windows to mirror.
        mode: what lies beyond an image: CONSTANT (black), EDGE, REFLECT or SYMMETRIC.
        mean: subtracted from every colour.
        factor: by which every colour is multiplied then.
        boxes: top, left, height and width of what is erased, in the window.
        colours: what it is erased with.
        channels_last: the three colours of a pixel of `out` lie side by side.

    Shape:
        out: (B, 3·H·W).
        images: (N, 3, H, W).
        changed: (K, 3, H, W).
        rows, flips: (B,).
        shifts: (B, 2).
        mean, factor: (3,).
        boxes: (B, 4).
        colours: (B, 3).
    """
    height, width = images.shape[2:]
    step, plane = (3, 1) if channels_last else (1, height * width)
    for place in range(out.shape[0]):
        image = images[rows[place]] if rows[place] >= 0 else changed[-1 - rows[place]]
        flat, window, box = image.reshape(-1), out[place], boxes[place]
        for channel in range(3):
            pixels = flat[channel * height * width : (channel + 1) * height * width]
            down, right = shifts[place]
            part = window[channel * plane :]
            _shift(part, step, pixels, width, down, right, flips[place], mode, mean[channel], factor[channel])
            # A place beyond the window would be somebody else's memory.
            for row in range(max(box[0], 0), min(box[0] + box[2], height)):
                for column in range(max(box[1], 0), min(box[1] + box[3], width)):
                    part[(row * width + column) * step] = colours[place, channel]


@compiled
def _shift(
    out: NDArray[Any],
    step: int,
    pixels: NDArray[np.uint8],
    width: int,
    down: int,
    right: int,
    flip: bool,
    mode: int,
    mean: np.float32,
    factor: np.float32,
) -> None:
    """One colour of one window; `step` is the distance of neighbours in `out`."""
    height = len(pixels) // width
    black = (np.float32(0) - mean) * factor
    # What of a line comes from within the image, whose first pixel there is `first`.
    start = min(max(right if flip else -right, 0), width)
    stop = max(min(width + right if flip else width - right, width), start)
    first = width - 1 - start + right if flip else start + right
    for row in range(height):
        source = _beyond(row + down, height, mode)
        line = row * width
        if source < 0:
            for column in range(width):
                out[(line + column) * step] = black
            continue
        _line(out, (line + start) * step, step, pixels, source * width + first, stop - start, flip, mean, factor)
        for column in range(start):
            at = _beyond((width - 1 - column if flip else column) + right, width, mode)
            value = (np.float32(pixels[source * width + at]) - mean) * factor if at >= 0 else black
            out[(line + column) * step] = value
        for column in range(stop, width):
            at = _beyond((width - 1 - column if flip else column) + right, width, mode)
            value = (np.float32(pixels[source * width + at]) - mean) * factor if at >= 0 else black
            out[(line + column) * step] = value


@compiled
def _line(
    out: NDArray[Any],
    to: int,
    step: int,
    pixels: NDArray[np.uint8],
    first: int,
    count: int,
    flip: bool,
    mean: np.float32,
    factor: np.float32,
) -> None:
    # Unsigned places, which cannot count from the end, and plain loops: these become vector instructions.
    begin, origin, number = np.uintp(to), np.uintp(first), np.uintp(count)
    if step == 1 and flip:
        for i in range(number):
            out[begin + i] = (np.float32(pixels[origin - i]) - mean) * factor
    elif step == 1:
        for i in range(number):
            out[begin + i] = (np.float32(pixels[origin + i]) - mean) * factor
    elif flip:
        for i in range(number):
            out[begin + i * np.uintp(3)] = (np.float32(pixels[origin - i]) - mean) * factor
    else:
        for i in range(number):
            out[begin + i * np.uintp(3)] = (np.float32(pixels[origin + i]) - mean) * factor


@compiled
def _beyond(place: int, length: int, mode: int) -> int:
    """The pixel of a line that stands at a place, also beyond its ends; -1 for black."""
    if 0 <= place < length:
        return place
    if mode == CONSTANT:
        return -1
    if mode == REFLECT:
        return length - 1 - abs(length - 1 - abs(place))
    if mode == SYMMETRIC:
        place = -1 - place if place < 0 else place
        return 2 * length - 1 - place if place >= length else place
    return 0 if place < 0 else length - 1


@compiled
def equalize_planes(planes: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
    """Spreads the levels of every plane by Pillow's rule; see `color.equalize`.

    Shape:
        planes: (n, H·W).
        out: (n, H·W).
    """
    length = planes.shape[1]
    number, four = np.uintp(length), np.uintp(3)
    # Neighbours are often alike: counted in one table, each would wait for the other.
    counts = np.empty((4, 256), dtype=np.int64)
    table = np.empty(256, dtype=np.uint8)
    for place in range(planes.shape[0]):
        counts[:] = 0
        for i in range(number):
            counts[i & four, planes[place, i]] += 1
        highest = 255
        while highest > 0 and counts[:, highest].sum() == 0:
            highest -= 1
        step = (length - counts[:, highest].sum()) // 255
        below = 0
        for level in range(256):
            table[level] = min((below + step // 2) // step, 255) if step > 0 else level
            below += counts[:, level].sum()
        for i in range(number):
            out[place, i] = table[planes[place, i]]
