"""What stands between a camera and its subject, in the lower part of the picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.synth.shapes import Colour, disc, shaded

__all__ = ["OCCLUDERS", "draw_occluder"]


def draw_occluder(canvas: Image.Image, rng: np.random.Generator, kind: str, colour: Colour) -> None:
    """Draws an obstacle on the canvas, at a place and of a size that come from `rng`.

    Raises:
        KeyError: `kind` is not in `OCCLUDERS`.
    """
    side, reach = rng.random(), rng.uniform(0.12, 0.3)
    tone = shaded(colour, float(rng.uniform(0.85, 1.15)))
    OCCLUDERS[kind](_Obstacle(canvas, rng, side, reach, tone))


class _Obstacle:
    """Where an obstacle stands: `side` from left (0) to right (1), `reach` up from the lower edge, as shares."""

    def __init__(self, canvas: Image.Image, rng: np.random.Generator, side: float, reach: float, tone: Colour) -> None:
        self.draw, self.rng = ImageDraw.Draw(canvas), rng
        self.width, self.height = canvas.size
        self.side, self.reach, self.tone = side, reach, tone

    def pole(self) -> None:
        """A post from top to bottom, light on its left."""
        for thickness, tone in ((0.1, self.tone), (0.03, shaded(self.tone, 1.3))):
            box = (self.side * self.width, 0, (self.side + thickness) * self.width, self.height)
            self.draw.rectangle(box, fill=tone)

    def box(self) -> None:
        """A crate or a bin with a lid."""
        left, top = self.width * (self.side * 0.9 - 0.2), 1.0 - 1.3 * self.reach
        right, lid = left + 0.45 * self.width, 1.04 - 1.3 * self.reach
        self.draw.rectangle((left, self.height * top, right, self.height), fill=self.tone)
        self.draw.rectangle((left, self.height * top, right, self.height * lid), fill=shaded(self.tone, 1.25))

    def bush(self) -> None:
        """Overlapping tufts."""
        rng, width, height = self.rng, self.width, self.height
        for x, y, radius in zip(rng.random(7), rng.random(7), rng.uniform(0.08, 0.16, 7), strict=True):
            centre = (self.side * 0.8 + 0.3 * x) * width, height * (1.0 - self.reach * y)
            disc(self.draw, centre, radius * width, radius * width, shaded(self.tone, 0.8 + 0.4 * float(y)))

    def railing(self) -> None:
        """Two rails and their posts, across the whole picture."""
        width, height = self.width, self.height
        for top in (1.0 - self.reach, 1.0 - self.reach / 2):
            self.draw.rectangle((0, height * top, width, height * (top + 0.025)), fill=self.tone)
        for x in range(round(-self.side * 0.3 * width), width, max(1, round(0.3 * width))):
            self.draw.rectangle((x, height * (1.0 - self.reach), x + 0.03 * width, height), fill=self.tone)


OCCLUDERS: dict[str, Callable[[_Obstacle], None]] = {
    "pole": _Obstacle.pole,
    "box": _Obstacle.box,
    "bush": _Obstacle.bush,
    "railing": _Obstacle.railing,
}
"""The obstacles by name."""
