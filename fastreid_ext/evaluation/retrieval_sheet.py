"""Retrieval sheets: queries and what was found for them, right and wrong ones in frames of their own colour."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from pathlib import PurePath
from statistics import median

from PIL import Image, ImageDraw, ImageFont

from fastreid_ext.data.image import UnreadableImage, read_image
from fastreid_ext.utils.logger import get_logger

__all__ = ["QUERY", "RIGHT", "WRONG", "SheetRow", "Tile", "retrieval_sheet"]

Colour = tuple[int, int, int]

RIGHT: Colour = (26, 150, 65)
"""Frame of images of the query's identity."""
WRONG: Colour = (215, 25, 28)
"""Frame of images of another identity."""
QUERY: Colour = (70, 70, 70)
"""Frame of queries."""

_WHITE: Colour = (255, 255, 255)
_BARS: Colour = (243, 243, 243)
_MISSING: Colour = (214, 214, 214)
_TEXT: Colour = (60, 60, 60)

# In pixels: a tile has the area of a square of this side.
_SIDE = 180
_FRAME = 6
_GAP = 12
_AFTER_QUERY = 44
_MARGIN = 24
_FONT = 16
_TITLE_FONT = 20
_LINE = 24
# Wider or higher ones would leave nothing of the others.
_LONGEST = 2.5
# Aspects within some tenth are one.
_STEPS = 8


@dataclass(frozen=True)
class Tile:
    """An image of a sheet.

    Attributes:
        path: of its file.
        caption: below it.
        right: whether it is what was looked for; None for the query itself.
    """

    path: str
    caption: str = ""
    right: bool | None = None

    @property
    def colour(self) -> Colour:
        """Of its frame."""
        return QUERY if self.right is None else RIGHT if self.right else WRONG


@dataclass(frozen=True)
class SheetRow:
    """A query and what was found for it, nearest first."""

    query: Tile
    results: Sequence[Tile]


def retrieval_sheet(rows: Sequence[SheetRow], title: str = "") -> Image.Image:
    """A picture with a row a query: the query on the left, what was found on the right in frames, green where right.

    Tiles have the aspect that most images have; others are fitted into it. A file that cannot be read becomes a grey
    tile with its name, and a warning tells how many there are.

    Args:
        rows: of the sheet.
        title: above it.

    Raises:
        ValueError: there are no rows.

    Source: the layout is that of Elezi et al. 2022 (Group Loss++), Fig. 16.
    """
    if not rows:
        raise ValueError("a retrieval sheet needs at least one row")
    tiles = [tile for row in rows for tile in (row.query, *row.results)]
    images = _read(tiles)
    layout = _Layout(_tile_size([image for image in images.values() if image]), max(len(row.results) for row in rows))
    top = _MARGIN + (_LINE + _GAP if title else 0)
    pitch = layout.tile[1] + 2 * _FRAME + _LINE + _GAP
    sheet = Image.new("RGB", (layout.width, top + _LINE + pitch * len(rows) - _GAP + _MARGIN), _WHITE)
    draw = ImageDraw.Draw(sheet)
    if title:
        _write(draw, (_MARGIN, _MARGIN), title, layout.width - 2 * _MARGIN, _TITLE_FONT, _TEXT)
    for column, heading in enumerate(["query", *map(str, range(1, layout.columns + 1))]):
        _write_centred(draw, (layout.left(column), top), heading, layout.tile[0] + 2 * _FRAME, _TEXT)
    for number, row in enumerate(rows):
        for column, tile in enumerate((row.query, *row.results)):
            corner = layout.left(column), top + _LINE + pitch * number
            _paste(sheet, corner, tile, _fitted(tile, images[tile.path], layout.tile))
    return sheet


@dataclass(frozen=True)
class _Layout:
    tile: tuple[int, int]
    columns: int

    @property
    def width(self) -> int:
        return self.left(self.columns) + self.tile[0] + 2 * _FRAME + _MARGIN

    def left(self, column: int) -> int:
        """Where a column begins; the first is that of the queries."""
        return _MARGIN + column * (self.tile[0] + 2 * _FRAME + _GAP) + (_AFTER_QUERY - _GAP if column else 0)


def _read(tiles: Sequence[Tile]) -> dict[str, Image.Image | None]:
    images: dict[str, Image.Image | None] = {}
    errors = []
    for path in dict.fromkeys(tile.path for tile in tiles):
        try:
            image = read_image(path)
            # Sheets of many photographs need not hold them in full.
            image.thumbnail((4 * _SIDE, 4 * _SIDE))
            images[path] = image
        except UnreadableImage as error:
            images[path] = None
            errors.append(error)
    if errors:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        get_logger(__name__).warning(
            f"{len(errors)} of {len(images)} images cannot be read and are grey tiles: {errors[0]}{more}"
        )
    return images


def _tile_size(images: Sequence[Image.Image]) -> tuple[int, int]:
    """Of one area whatever the aspect, which is the commonest."""
    aspects = [min(max(image.width / image.height, 1 / _LONGEST), _LONGEST) for image in images] or [1.0]
    bins = [round(_STEPS * log(aspect)) for aspect in aspects]
    # Ties go to the squarest, whatever the order of the images.
    most, _ = max(Counter(bins).items(), key=lambda item: (item[1], -abs(item[0]), item[0]))
    aspect = median(aspect for aspect, place in zip(aspects, bins, strict=True) if place == most)
    return round(_SIDE * sqrt(aspect)), round(_SIDE / sqrt(aspect))


def _fitted(tile: Tile, image: Image.Image | None, size: tuple[int, int]) -> Image.Image:
    """The whole image in the middle of a tile, or the name of its file."""
    if image is None:
        return _missing(PurePath(tile.path).name, size)
    scale = min(size[0] / image.width, size[1] / image.height)
    shape = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    # A pixel of a bar is but an uneven frame.
    shape = tuple(full if full - side <= 2 else side for full, side in zip(size, shape, strict=True))  # type: ignore[assignment]
    canvas = Image.new("RGB", size, _BARS)
    corner = (size[0] - shape[0]) // 2, (size[1] - shape[1]) // 2
    canvas.paste(image.resize(shape, Image.Resampling.LANCZOS), corner)
    return canvas


def _missing(name: str, size: tuple[int, int]) -> Image.Image:
    canvas = Image.new("RGB", size, _MISSING)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT - 3)
    characters = max(4, int((size[0] - 12) * len(name) // max(1, font.getlength(name))))
    lines = "\n".join(["cannot be read:", *textwrap.wrap(name, characters, break_on_hyphens=False)])
    draw.multiline_text((size[0] / 2, size[1] / 2), lines, _TEXT, font, anchor="mm", align="center")
    return canvas


def _paste(sheet: Image.Image, corner: tuple[int, int], tile: Tile, image: Image.Image) -> None:
    left, top = corner
    width, height = image.width + 2 * _FRAME, image.height + 2 * _FRAME
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left, top, left + width - 1, top + height - 1), fill=tile.colour)
    sheet.paste(image, (left + _FRAME, top + _FRAME))
    _write_centred(draw, (left, top + height + 3), tile.caption, width, tile.colour)


def _write_centred(draw: ImageDraw.ImageDraw, corner: tuple[int, int], text: str, width: int, colour: Colour) -> None:
    _write(draw, corner, text, width, _FONT, colour, centred=True)


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    width: int,
    size: int,
    colour: Colour,
    *,
    centred: bool = False,
) -> None:
    """A line of text that is cut where it is too long."""
    font = ImageFont.load_default(size)
    while text and draw.textlength(text, font) > width:
        text = text[:-2].rstrip("…") + "…" if len(text) > 2 else ""
    place = (corner[0] + width / 2, corner[1]) if centred else corner
    draw.text(place, text, colour, font, anchor="ma" if centred else "la")
