"""Clothes: what a person wears on the upper body, as a texture that goes round it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.synth.shapes import Colour, Pixels, jittered, pick, shaded

ROWS, COLUMNS = 32, 64
FRONT = COLUMNS // 2
Mask = NDArray[np.bool_]

# Few colours on purpose: identities have to share them, so that no colour alone tells who it is.
CLOTH_COLOURS: dict[str, Colour] = {
    "black": (32, 32, 36),
    "white": (228, 228, 224),
    "grey": (128, 130, 132),
    "navy": (36, 46, 96),
    "blue": (52, 104, 190),
    "red": (188, 40, 44),
    "green": (46, 124, 70),
    "yellow": (218, 184, 58),
    "beige": (190, 164, 126),
    "purple": (112, 58, 132),
}
PATTERNS = ("plain", "hoops", "stripes", "checks", "block", "halves", "dots", "band", "logo", "number", "open")


@dataclass(frozen=True)
class Top:
    """An upper garment: its colours, its pattern and the straps over it (lean 0: a backpack's two; else the bag's side)."""

    colour: Colour
    accent: Colour
    pattern: str
    pitch: int
    strap: Colour | None = None
    strap_lean: int = 0

    @classmethod
    def sample(cls, rng: np.random.Generator) -> Top:
        """Draw a garment; colour and accent never have the same name."""
        weights = (3.0, 2.0, 2.0, 1.5, 1.5, 1.2, 1.0, 0.8, 1.0, 0.8)
        first = pick(rng, tuple(CLOTH_COLOURS), weights)
        second = pick(rng, tuple(name for name in CLOTH_COLOURS if name != first))
        pattern = pick(rng, PATTERNS, (2.5, 1, 1, 1, 1.3, 1, 1, 1, 1.3, 1, 1.6))
        return cls(
            colour=jittered(CLOTH_COLOURS[first], rng),
            accent=jittered(CLOTH_COLOURS[second], rng),
            pattern=pattern,
            pitch=int(rng.integers(2)),
        )


@lru_cache(maxsize=512)
def top_texture(top: Top) -> Pixels:
    """The garment as an image whose columns run round the body; column 0 is the spine, the middle one the breastbone.

    Shape: (ROWS, COLUMNS, 3).
    """
    texture = np.empty((ROWS, COLUMNS, 3), np.uint8)
    texture[:] = top.colour
    texture[_pattern_mask(top.pattern, top.pitch)] = top.accent
    if top.pattern == "open":
        texture[:, FRONT] = shaded(top.accent, 0.75)
    if top.strap is not None:
        texture[_strap_mask(top.strap_lean)] = top.strap
    return texture


def _pattern_mask(pattern: str, pitch: int) -> Mask:
    row, column = np.mgrid[:ROWS, :COLUMNS]
    from_front = np.abs(column - FRONT)
    from_back = np.minimum(column, COLUMNS - column)
    if pattern == "hoops":
        return row // (3 + 2 * pitch) % 2 == 1
    if pattern == "stripes":
        return column // (2 + 2 * pitch) % 2 == 1
    if pattern == "checks":
        return (row // (4 + 2 * pitch) + column // 4) % 2 == 1
    if pattern == "block":
        return row >= (11, 19)[pitch]
    if pattern == "halves":
        return column >= FRONT
    if pattern == "dots":
        return (row % 8 - 3.5) ** 2 + ((column + 4 * (row // 8 % 2)) % 8 - 3.5) ** 2 < (5.0, 8.5)[pitch]
    if pattern == "band":
        return np.abs(row - (9, 17)[pitch]) <= 3
    if pattern == "logo":
        return (row - 12) ** 2 + (from_front * 1.1) ** 2 < (26, 50)[pitch]
    if pattern == "number":
        bars = (from_back <= 1) | ((from_back <= 5) & (np.abs(row - 12) % 6 <= 1))
        return bars & (np.abs(row - 12) <= 7) if pitch else (from_back <= 6) & (np.abs(row - 11) <= 5)
    if pattern == "open":
        return from_front <= (3, 6)[pitch]
    return np.zeros((ROWS, COLUMNS), bool)


def _strap_mask(lean: int) -> Mask:
    row, column = np.mgrid[:ROWS, :COLUMNS]
    if lean == 0:
        return (np.abs(np.abs(column - FRONT) - 8) <= 1) & (row < 22)
    # A strap from one shoulder to the other hip lies in a plane, which cuts a cylinder in a sine.
    return np.abs(row - 14 - 14 * lean * np.sin((column - FRONT) * (2 * np.pi / COLUMNS))) <= 2
