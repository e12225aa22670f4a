"""The bodies of the drawn vehicles: side outlines that are extruded across the vehicle's width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from fastreid_ext.data.synth.shapes import Point

__all__ = ["BODIES", "Body", "Face"]


@dataclass(frozen=True)
class Face:
    """One strip of the outer skin, between two points of the outline, as wide as the vehicle.

    Attributes:
        kind: "nose", "bonnet", "screen", "roof", "rear_screen", "boot", "bed" or "tail".
        start: the point (x, z) of the outline nearer to the nose.
        end: the point where the next strip begins.
    """

    kind: str
    start: Point
    end: Point

    @property
    def middle(self) -> Point:
        """The middle of the strip, (x, z)."""
        return self.at(0.5)

    @property
    def normal(self) -> Point:
        """The outward direction, (x, z); outlines run from the nose over the roof to the tail."""
        dx, dz = self.end[0] - self.start[0], self.end[1] - self.start[1]
        length = math.hypot(dx, dz)
        return dz / length, -dx / length

    def at(self, along: float) -> Point:
        """The point at a share of the way from start to end."""
        return (
            self.start[0] + along * (self.end[0] - self.start[0]),
            self.start[1] + along * (self.end[1] - self.start[1]),
        )

    def order(self, low: float, high: float) -> Point:
        """Heights on a standing face, as shares from its lower edge, turned into shares from start to end."""
        return (low, high) if self.end[1] > self.start[1] else (1.0 - high, 1.0 - low)


@dataclass(frozen=True)
class Body:
    """A kind of vehicle, in vehicle lengths: x towards the nose, z up.

    Attributes:
        outline: the side's corners from the nose over the roof to the tail, each with the kind of the strip after it.
        windows: corners of each pane in the side.
        panel: the part of the side that carries a square sticker: rear, front, lower and upper end.
        axles: x of the front and the rear wheels.
        wheel: their radius.
        half_width: half the width below the belt line.
        belt: height of the belt line.
    """

    outline: tuple[tuple[str, Point], ...]
    windows: tuple[tuple[Point, ...], ...]
    panel: tuple[float, float, float, float]
    axles: tuple[float, float] = (0.31, -0.3)
    wheel: float = 0.085
    half_width: float = 0.2
    belt: float = 0.28

    @property
    def profile(self) -> tuple[Point, ...]:
        """The corners of the side."""
        return tuple(point for _, point in self.outline)

    @cached_property
    def faces(self) -> tuple[Face, ...]:
        """The strips of the skin, from the nose over the roof to the tail."""
        pairs = zip(self.outline, self.outline[1:], strict=False)
        return tuple(Face(kind, start, end) for (kind, start), (_, end) in pairs)

    @cached_property
    def height(self) -> float:
        """The height of the roof."""
        return max(z for _, z in self.profile)

    @cached_property
    def roof_span(self) -> Point:
        """Where the roof begins and ends, (front x, rear x)."""
        roof = next(face for face in self.faces if face.kind == "roof")
        return roof.start[0], roof.end[0]

    @cached_property
    def has_bonnet(self) -> bool:
        """Whether there is a bonnet that can carry marks."""
        return any(face.kind == "bonnet" for face in self.faces)

    @cached_property
    def cabin(self) -> tuple[Point, ...]:
        """The part of the side above the belt line and between the screens' upper ends."""
        front, rear = self.roof_span
        return ((front, self.height), (rear, self.height), (rear, self.height - 0.025), (front, self.height - 0.025))

    def half_width_at(self, z: float) -> float:
        """Half the width at a height: bodies narrow above the belt line."""
        return self.half_width * (1.0 - 0.75 * max(0.0, z - self.belt))


def _panes(*corners: tuple[float, float, float, float], low: float, high: float) -> tuple[tuple[Point, ...], ...]:
    return tuple(((a, low), (b, low), (c, high), (d, high)) for a, b, c, d in corners)


_BUS_WINDOWS = tuple((0.45 - 0.23 * k, 0.25 - 0.23 * k, 0.25 - 0.23 * k, 0.45 - 0.23 * k) for k in range(4))

BODIES: dict[str, Body] = {
    "saloon": Body(
        outline=(
            ("nose", (0.49, 0.08)),
            ("bonnet", (0.485, 0.23)),
            ("screen", (0.2, 0.275)),
            ("roof", (0.06, 0.4)),
            ("rear_screen", (-0.2, 0.4)),
            ("boot", (-0.34, 0.29)),
            ("tail", (-0.485, 0.275)),
            ("end", (-0.49, 0.08)),
        ),
        windows=_panes((0.17, -0.05, -0.05, 0.06), (-0.07, -0.3, -0.2, -0.07), low=0.285, high=0.385),
        panel=(-0.1, 0.08, 0.14, 0.25),
    ),
    "hatchback": Body(
        outline=(
            ("nose", (0.46, 0.08)),
            ("bonnet", (0.455, 0.24)),
            ("screen", (0.24, 0.29)),
            ("roof", (0.08, 0.43)),
            ("rear_screen", (-0.36, 0.42)),
            ("tail", (-0.45, 0.29)),
            ("end", (-0.46, 0.08)),
        ),
        windows=_panes((0.2, -0.04, -0.04, 0.09), (-0.06, -0.38, -0.33, -0.06), low=0.3, high=0.41),
        panel=(-0.1, 0.1, 0.14, 0.26),
        axles=(0.3, -0.29),
        half_width=0.21,
    ),
    "suv": Body(
        outline=(
            ("nose", (0.48, 0.1)),
            ("bonnet", (0.475, 0.28)),
            ("screen", (0.24, 0.32)),
            ("roof", (0.12, 0.48)),
            ("rear_screen", (-0.42, 0.47)),
            ("tail", (-0.46, 0.32)),
            ("end", (-0.47, 0.1)),
        ),
        windows=_panes(
            (0.21, 0.0, 0.0, 0.13), (-0.02, -0.22, -0.22, -0.02), (-0.24, -0.43, -0.4, -0.24), low=0.33, high=0.455
        ),
        panel=(-0.14, 0.1, 0.15, 0.29),
        wheel=0.1,
        half_width=0.215,
        belt=0.32,
    ),
    "van": Body(
        outline=(
            ("nose", (0.49, 0.09)),
            ("bonnet", (0.48, 0.26)),
            ("screen", (0.38, 0.3)),
            ("roof", (0.26, 0.53)),
            ("tail", (-0.48, 0.53)),
            ("end", (-0.49, 0.09)),
        ),
        windows=_panes((0.34, 0.16, 0.16, 0.26), low=0.33, high=0.48),
        panel=(-0.42, 0.06, 0.26, 0.46),
        axles=(0.32, -0.31),
        half_width=0.205,
        belt=0.4,
    ),
    "pickup": Body(
        outline=(
            ("nose", (0.49, 0.1)),
            ("bonnet", (0.485, 0.26)),
            ("screen", (0.24, 0.3)),
            ("roof", (0.12, 0.43)),
            ("rear_screen", (-0.08, 0.43)),
            ("bed", (-0.12, 0.27)),
            ("tail", (-0.485, 0.27)),
            ("end", (-0.49, 0.1)),
        ),
        windows=_panes((0.2, 0.05, 0.05, 0.12), (0.03, -0.08, -0.06, 0.03), low=0.31, high=0.415),
        panel=(-0.46, -0.42, 0.16, 0.25),
        wheel=0.095,
    ),
    "bus": Body(
        outline=(
            ("nose", (0.5, 0.08)),
            ("screen", (0.5, 0.24)),
            ("roof", (0.48, 0.47)),
            ("rear_screen", (-0.49, 0.47)),
            ("tail", (-0.5, 0.3)),
            ("end", (-0.5, 0.08)),
        ),
        windows=_panes(*_BUS_WINDOWS, low=0.27, high=0.41),
        panel=(-0.2, 0.2, 0.14, 0.24),
        wheel=0.075,
        half_width=0.17,
        belt=0.45,
    ),
}
