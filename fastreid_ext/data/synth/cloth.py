"""Clothes: what a person wears on the upper body, as a texture that goes round it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.synth.shapes import Colour, Pixels, jittered, pick, shaded

__all__ = ["CLOTH_COLOURS", "COLUMNS", "ROWS", "Top", "top_texture"]

ROWS, COLUMNS = 32, 64
FRONT = COLUMNS // 2
Mask = NDArray[np.bool_]
Indices = NDArray[np.intp]

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


def _from_front(column: Indices) -> Indices:
    return np.abs(column - FRONT)


def _number(row: Indices, column: Indices, pitch: int) -> Mask:
    from_back = np.minimum(column, COLUMNS - column)
    if pitch == 0:
        block: Mask = (from_back <= 6) & (np.abs(row - 11) <= 5)
        return block
    bars: Mask = (from_back <= 1) | ((from_back <= 5) & (np.abs(row - 12) % 6 <= 1))
    return bars & (np.abs(row - 12) <= 7)


# Where the accent colour is, by row and column of the texture; each pattern has a fine (pitch 0) and a coarse form (1).
PATTERNS: dict[str, Callable[[Indices, Indices, int], Mask]] = {
    "plain": lambda row, column, pitch: np.zeros(row.shape, bool),
    "hoops": lambda row, column, pitch: row // (3 + 2 * pitch) % 2 == 1,
    "stripes": lambda row, column, pitch: column // (2 + 2 * pitch) % 2 == 1,
    "checks": lambda row, column, pitch: (row // (4 + 2 * pitch) + column // 4) % 2 == 1,
    "block": lambda row, column, pitch: row >= (11, 19)[pitch],
    "halves": lambda row, column, pitch: column >= FRONT,
    "dots": lambda row, column, pitch: (
        (row % 8 - 3.5) ** 2 + ((column + 4 * (row // 8 % 2)) % 8 - 3.5) ** 2 < (5.0, 8.5)[pitch]
    ),
    "band": lambda row, column, pitch: np.abs(row - (9, 17)[pitch]) <= 3,
    "logo": lambda row, column, pitch: (row - 12) ** 2 + (_from_front(column) * 1.1) ** 2 < (26, 50)[pitch],
    "number": _number,
    "open": lambda row, column, pitch: _from_front(column) <= (3, 6)[pitch],
}


@dataclass(frozen=True)
class Top:
    """An upper garment and the straps over it.

    Attributes:
        colour: of the cloth.
        accent: colour of the pattern.
        pattern: a key of `PATTERNS`.
        pitch: 0 or 1, the pattern's form.
        strap: colour of a bag's straps, if there are any.
        strap_lean: 0 for the two straps of a backpack, else the side (-1 or 1) of the bag whose strap is across.
    """

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
        pattern = pick(rng, tuple(PATTERNS), (2.5, 1, 1, 1, 1.3, 1, 1, 1, 1.3, 1, 1.6))
        return cls(
            colour=jittered(CLOTH_COLOURS[first], rng),
            accent=jittered(CLOTH_COLOURS[second], rng),
            pattern=pattern,
            pitch=int(rng.integers(2)),
        )


@lru_cache(maxsize=512)
def top_texture(top: Top) -> Pixels:
    """The garment as an image whose columns run round the body; column 0 is the spine, the middle one the breastbone.

    The same garment gives the same array, which is not to be written to.

    Shape:
        Result: (ROWS, COLUMNS, 3).
    """
    texture = np.empty((ROWS, COLUMNS, 3), np.uint8)
    texture[:] = top.colour
    row, column = np.indices((ROWS, COLUMNS))
    texture[PATTERNS[top.pattern](row, column, top.pitch)] = top.accent
    if top.pattern == "open":
        texture[:, FRONT] = shaded(top.accent, 0.75)
    if top.strap is not None:
        texture[_strap_mask(row, column, top.strap_lean)] = top.strap
    return texture


def _strap_mask(row: Indices, column: Indices, lean: int) -> Mask:
    if lean == 0:
        straps: Mask = (np.abs(_from_front(column) - 8) <= 1) & (row < 22)
        return straps
    # A strap from one shoulder to the other hip lies in a plane, which cuts a cylinder in a sine.
    strap: Mask = np.abs(row - 14 - 14 * lean * np.sin((column - FRONT) * (2 * np.pi / COLUMNS))) <= 2
    return strap
