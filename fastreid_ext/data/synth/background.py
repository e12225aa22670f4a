"""The places in front of which cameras hang: a wide picture from which each image takes a piece."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.synth.shapes import Colour, disc, jittered, pick, shaded

__all__ = ["SCENES", "draw_scene"]

WALLS: tuple[Colour, ...] = ((176, 164, 148), (136, 140, 146), (160, 112, 92), (196, 194, 186), (110, 118, 110))
GROUNDS: tuple[Colour, ...] = ((112, 112, 114), (150, 146, 138), (90, 92, 98), (168, 152, 130))


def draw_scene(rng: np.random.Generator, style: str, size: tuple[int, int], horizon: float) -> Image.Image:
    """Draws a place, seen straight on, with grain that is part of it.

    Args:
        rng: where the walls, windows and trees stand.
        style: a key of `SCENES`, what is above the ground.
        size: width and height in pixels.
        horizon: share of the height above the ground.

    Raises:
        KeyError: no such style.
    """
    width, height = size
    scene = Image.new("RGB", size, jittered(pick(rng, WALLS), rng, 10.0))
    draw = ImageDraw.Draw(scene)
    edge = round(height * horizon)
    SCENES[style](draw, rng, width, edge)
    _ground(draw, rng, width, edge, height)
    grain = rng.integers(-9, 10, (height, width, 1), dtype=np.int16)
    return Image.fromarray(np.clip(np.asarray(scene, np.int16) + grain, 0, 255).astype(np.uint8))


def _ground(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, edge: int, height: int) -> None:
    colour = jittered(pick(rng, GROUNDS), rng, 10.0)
    depth = height - edge
    for k in range(12):
        top = edge + depth * k // 12
        draw.rectangle((0, top, width, edge + depth * (k + 1) // 12), fill=shaded(colour, 0.84 + 0.02 * k))
    kind, line = pick(rng, ("joints", "lane", "zebra", "kerb")), shaded(colour, float(rng.uniform(0.7, 1.5)))
    if kind == "joints":
        step = int(rng.integers(depth // 2, depth))
        for x in range(-2 * width, 3 * width, step):
            draw.line((x, height, (x + width // 2) // 2, edge), fill=line, width=2)
        for share in (0.15, 0.4, 0.75):
            draw.line((0, edge + share * depth, width, edge + share * depth), fill=line, width=2)
    elif kind == "lane":
        left, right = edge + depth // 3, edge + depth // 2
        draw.polygon([(0, left), (width, right), (width, right + 8), (0, left + 6)], fill=(208, 206, 196))
    elif kind == "zebra":
        for x in range(0, 2 * width, depth):
            near, far = (x, x + depth // 2), (x + depth // 4, x - depth // 4)
            corners = [(near[0], height), (near[1], height), (far[0], edge), (far[1], edge)]
            draw.polygon(corners, fill=(200, 200, 196))
    else:
        draw.rectangle((0, edge + depth // 4, width, edge + depth // 3), fill=line)


def _street(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, edge: int) -> None:
    x = 0
    while x < width:
        house = int(rng.integers(width // 6, width // 3))
        wall = jittered(pick(rng, WALLS), rng, 12.0)
        draw.rectangle((x, int(rng.integers(edge // 4 + 1)), x + house, edge), fill=wall)
        pane = shaded(wall, float(rng.uniform(0.4, 0.7)))
        step = max(8, house // int(rng.integers(2, 5)))
        for left in range(x + step // 4, x + house - step // 3, step):
            for top in range(edge // 4, edge - step // 2, step):
                draw.rectangle((left, top, left + step // 2, top + step // 2), fill=pane)
        x += house


def _park(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, edge: int) -> None:
    draw.rectangle((0, 0, width, edge), fill=(178, 200, 216))
    draw.rectangle((0, edge * 3 // 4, width, edge), fill=(96, 128, 72))
    for _ in range(9):
        x, radius = int(rng.integers(width)), int(rng.integers(edge // 5, edge // 2))
        leaves = jittered((66, 104, 58), rng, 16.0)
        draw.rectangle((x - radius // 10, edge // 3, x + radius // 10, edge), fill=(88, 66, 48))
        for _ in range(5):
            dx, dy = rng.integers(-radius // 2, radius // 2 + 1, 2)
            crown = shaded(leaves, float(rng.uniform(0.7, 1.2)))
            disc(draw, (x + int(dx), edge // 3 + int(dy)), radius * 0.7, radius * 0.6, crown)


def _bricks(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, edge: int) -> None:
    wall = jittered(pick(rng, WALLS), rng, 12.0)
    high = int(rng.integers(max(4, edge // 14), max(6, edge // 6)))
    draw.rectangle((0, 0, width, edge), fill=shaded(wall, 0.75))
    for row, top in enumerate(range(0, edge, high)):
        for left in range(-(row % 2) * high, width, 2 * high):
            brick = shaded(wall, float(rng.uniform(0.9, 1.1)))
            draw.rectangle((left + 1, top + 1, left + 2 * high - 2, min(edge, top + high - 2)), fill=brick)


def _shops(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, edge: int) -> None:
    x = 0
    while x < width:
        shop = int(rng.integers(width // 7, width // 4))
        sign = (int(rng.integers(50, 220)), int(rng.integers(50, 220)), int(rng.integers(50, 220)))
        draw.rectangle((x, 0, x + shop, edge), fill=shaded(sign, 0.5))
        draw.rectangle((x, edge // 8, x + shop, edge // 4), fill=sign)
        draw.rectangle((x + 4, edge // 3, x + shop - 4, edge - 4), fill=(206, 204, 184))
        for _ in range(3):
            left, top = x + int(rng.integers(shop)), int(rng.integers(edge // 3, edge * 3 // 4))
            goods = (int(rng.integers(30, 230)), int(rng.integers(30, 230)), int(rng.integers(30, 230)))
            draw.rectangle((left, top, left + shop // 5, top + edge // 6), fill=goods)
        x += shop


def _hall(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, edge: int) -> None:
    wall = jittered((188, 190, 192), rng, 12.0)
    panel = int(rng.integers(width // 12, width // 6))
    for k, left in enumerate(range(0, width, panel)):
        draw.rectangle((left, 0, left + panel, edge), fill=shaded(wall, 1.0 if k % 2 else 0.86))
    for _ in range(3):
        left = int(rng.integers(width))
        draw.rectangle((left, edge // 4, left + panel * 2 // 3, edge), fill=shaded(wall, float(rng.uniform(0.3, 0.6))))
    draw.rectangle((0, edge * 7 // 8, width, edge), fill=shaded(wall, 0.5))


SCENES: dict[str, Callable[[ImageDraw.ImageDraw, np.random.Generator, int, int], None]] = {
    "street": _street,
    "park": _park,
    "bricks": _bricks,
    "shops": _shops,
    "hall": _hall,
}
"""What can stand above the ground: functions of the pencil, the generator, the width and the horizon in pixels."""
