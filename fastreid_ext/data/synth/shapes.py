"""The few shapes and colour sums that all drawn subjects are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["Colour", "Pixels", "Point", "disc", "jittered", "limb", "pick", "shaded", "wrap"]

Colour = tuple[int, int, int]
Point = tuple[float, float]
Pixels = NDArray[np.uint8]
Option = TypeVar("Option")


def shaded(colour: Colour, factor: float) -> Colour:
    """A colour made darker (factor below 1) or lighter."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def jittered(colour: Colour, rng: np.random.Generator, spread: float = 7.0) -> Colour:
    """A colour near to the given one, as two dyes of the same name differ."""
    red, green, blue = (min(255, max(0, round(channel + spread * rng.standard_normal()))) for channel in colour)
    return red, green, blue


def pick(rng: np.random.Generator, options: Sequence[Option], weights: Sequence[float] | None = None) -> Option:
    """One of the options, with the given weights, by a single uniform draw."""
    if weights is None:
        return options[int(rng.integers(len(options)))]
    cumulated = np.cumsum(weights)
    return options[min(int(np.searchsorted(cumulated, rng.random() * cumulated[-1])), len(options) - 1)]


def disc(draw: ImageDraw.ImageDraw, centre: Point, radius_x: float, radius_y: float, colour: Colour) -> None:
    """A filled ellipse with its axes along the picture's."""
    x, y = centre
    draw.ellipse((x - radius_x, y - radius_y, x + radius_x, y + radius_y), fill=colour)


def limb(draw: ImageDraw.ImageDraw, start: Point, end: Point, radii: tuple[float, float], colour: Colour) -> None:
    """A tapered rod with round ends: an arm, a leg, a strap."""
    (x0, y0), (x1, y1), (r0, r1) = start, end, radii
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    nx, ny = (y0 - y1) / length, (x1 - x0) / length
    corners = [(x0 + nx * r0, y0 + ny * r0), (x1 + nx * r1, y1 + ny * r1)]
    corners += [(x1 - nx * r1, y1 - ny * r1), (x0 - nx * r0, y0 - ny * r0)]
    draw.polygon(corners, fill=colour)
    disc(draw, start, r0, r0, colour)
    disc(draw, end, r1, r1, colour)


def wrap(
    canvas: Image.Image,
    texture: Pixels,
    centre_x: float,
    top: float,
    half_widths: NDArray[np.float64],
    yaw: float,
) -> None:
    """Pastes a texture that goes round an upright body, as seen from one side, with the light from the upper left.

    Args:
        canvas: what to paste on.
        texture: its columns run from the back over one side and the front to the back again.
        centre_x: the body's axis in pixels.
        top: its upper end in pixels.
        half_widths: half the width of each line of pixels.
        yaw: the body's turn in radians, 0 shows its front.

    Shape:
        texture: (rows, columns, 3). half_widths: (height of the body in pixels,).
    """
    reach = math.ceil(float(half_widths.max()))
    offset = np.arange(-reach, reach + 1) / np.maximum(half_widths, 0.5)[:, None]
    angle = np.arcsin(np.clip(offset, -1.0, 1.0))
    rows, columns = texture.shape[:2]
    column = (((angle - yaw) / (2 * math.pi) + 0.5) % 1.0 * columns).astype(np.intp) % columns
    row = np.arange(len(half_widths)) * rows // len(half_widths)
    light = 0.68 + 0.34 * np.cos(angle + 0.35)
    pixels = np.minimum(texture[row[:, None], column] * light[..., None], 255.0).astype(np.uint8)
    mask = ((np.abs(offset) <= 1.0) * np.uint8(255)).astype(np.uint8)
    canvas.paste(Image.fromarray(pixels), (round(centre_x) - reach, round(top)), Image.fromarray(mask))
