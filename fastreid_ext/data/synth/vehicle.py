"""Drawn vehicles: which one it is, and how it looks from a given side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.synth.bodywork import BODIES, Body, Face
from fastreid_ext.data.synth.shapes import Colour, Point, jittered, pick, shaded

__all__ = ["VehicleIdentity", "View", "draw_vehicle"]

PAINTS: dict[str, Colour] = {
    "white": (232, 232, 228),
    "silver": (176, 180, 184),
    "grey": (104, 108, 112),
    "black": (34, 34, 38),
    "red": (176, 34, 38),
    "blue": (40, 78, 156),
    "green": (36, 104, 74),
    "yellow": (222, 178, 48),
}
GLASS: Colour = (58, 70, 82)
TYRE: Colour = (26, 26, 28)
Spot = tuple[float, float, float]


@dataclass(frozen=True)
class View:
    """From where a vehicle is seen, and where in the picture.

    Attributes:
        yaw: its turn in radians, 0 shows its front.
        tilt: how far the camera looks down on it, in radians.
        centre: the point of the picture where its middle is, in pixels.
        length: its length seen from the side, in pixels.
    """

    yaw: float
    tilt: float
    centre: Point
    length: float


@dataclass(frozen=True)
class VehicleIdentity:
    """What stays the same about one vehicle in all pictures.

    Attributes:
        body: a key of `BODIES`.
        stretch: factor on the body's length.
        paint: its colour.
        roof: colour of roof and pillars, for one in four another than the paint.
        tint: factor on the brightness of the glass.
        stripe: "none", "belt", "sill", "bonnet" or "half", where a stripe is.
        stripe_colour: its colour.
        sticker: "none", "round", "square", "tail" or "bonnet", its form or place.
        sticker_colour: its colour.
        load: "none", "rails", "box" or "sign", what is on the roof.
        load_colour: its colour.
        hub: colour of the wheels.
    """

    body: str
    stretch: float
    paint: Colour
    roof: Colour
    tint: float
    stripe: str
    stripe_colour: Colour
    sticker: str
    sticker_colour: Colour
    load: str
    load_colour: Colour
    hub: Colour

    @classmethod
    def sample(cls, rng: np.random.Generator) -> VehicleIdentity:
        """Draws lots for a vehicle; paints and bodies are few: vehicles share them and differ in their marks."""
        paint_name = pick(rng, tuple(PAINTS), (4, 3, 2, 3, 1.5, 1.5, 0.8, 0.8))
        paint = jittered(PAINTS[paint_name], rng, 5.0)
        marks = tuple(name for name in PAINTS if name not in (paint_name, "silver"))
        two_tone = rng.random() < 0.25
        return cls(
            body=pick(rng, tuple(BODIES), (3, 2.5, 2.5, 2, 1.3, 1.3)),
            stretch=float(rng.uniform(0.92, 1.1)),
            paint=paint,
            roof=jittered(PAINTS[pick(rng, ("black", "white", "red"))], rng, 5.0) if two_tone else paint,
            tint=float(rng.uniform(0.6, 1.5)),
            stripe=pick(rng, ("none", "belt", "sill", "bonnet", "half"), (4, 1.5, 1.5, 1.5, 1.2)),
            stripe_colour=jittered(PAINTS[pick(rng, marks)], rng),
            sticker=pick(rng, ("none", "round", "square", "tail", "bonnet"), (3.5, 1.5, 1.5, 1.5, 1.5)),
            sticker_colour=jittered(PAINTS[pick(rng, marks)], rng),
            load=pick(rng, ("none", "rails", "box", "sign"), (4, 2, 1.5, 1)),
            load_colour=jittered(PAINTS[pick(rng, ("black", "yellow", "white", "blue"))], rng),
            hub=pick(rng, ((206, 208, 210), (120, 122, 126), (44, 44, 48), (150, 120, 60)), (3, 2, 2, 0.7)),
        )


def draw_vehicle(canvas: Image.Image, identity: VehicleIdentity, view: View) -> None:
    """Paints a vehicle on the canvas, far parts first."""
    _Model(canvas, identity, view).paint()


class _Model:
    """One vehicle in one view; x points to its nose, y to its left, z up, in vehicle lengths."""

    def __init__(self, canvas: Image.Image, identity: VehicleIdentity, view: View) -> None:
        self.who, self.view = identity, view
        self.draw = ImageDraw.Draw(canvas)
        self.cos, self.sin = math.cos(view.yaw), math.sin(view.yaw)
        self.cos_tilt, self.sin_tilt = math.cos(view.tilt), math.sin(view.tilt)
        self.body: Body = BODIES[identity.body]

    def paint(self) -> None:
        """Wheels, body, then what stands on the roof."""
        for x in self.body.axles:
            for side in (-1, 1):
                self._disc((x, side * (self.body.half_width - 0.012), self.body.wheel), self.body.wheel, TYRE)
        faces = sorted(self.body.faces, key=self._farness, reverse=True)
        for face in faces:
            self._face(face)
        for side in (-1, 1):
            # The side whose outward normal points to the camera.
            if side * self.sin > 0.0:
                self._side(side)
        self._load()

    def _project(self, spot: Spot) -> Point:
        x, y, z = spot[0] * self.who.stretch, spot[1], spot[2]
        across = y * self.cos - x * self.sin
        near = x * self.cos + y * self.sin
        size = self.view.length / (1.0 - 0.22 * near)
        centre_x, centre_y = self.view.centre
        return centre_x + across * size, centre_y - (z * self.cos_tilt - near * self.sin_tilt - 0.18) * size

    def _polygon(self, spots: Sequence[Spot], colour: Colour) -> None:
        self.draw.polygon([self._project(spot) for spot in spots], fill=colour)

    def _disc(self, centre: Spot, radius: float, colour: Colour) -> None:
        x, y, z = centre
        angles = [2 * math.pi * k / 14 for k in range(14)]
        self._polygon([(x + radius * math.cos(a), y, z + radius * math.sin(a)) for a in angles], colour)

    def _farness(self, face: Face) -> float:
        return -(face.middle[0] * self.cos * self.cos_tilt + face.middle[1] * self.sin_tilt)

    def _light(self, normal: Point) -> float:
        return 0.78 + 0.26 * max(0.0, normal[1]) + 0.08 * self.cos * normal[0]

    def _face(self, face: Face) -> None:
        if face.normal[0] * self.cos * self.cos_tilt + face.normal[1] * self.sin_tilt <= 0.0:
            return
        who, light = self.who, self._light(face.normal)
        base = who.roof if face.kind in ("roof", "screen", "rear_screen") else who.paint
        self._strip(face, -1.0, 1.0, 0.0, 1.0, shaded(base, light))
        if face.kind in ("screen", "rear_screen"):
            self._strip(face, -0.88, 0.88, 0.1, 0.9, shaded(GLASS, who.tint))
        elif face.kind in ("nose", "tail"):
            self._end(face, light)
        if who.stripe == "bonnet" and face.kind in ("bonnet", "roof", "boot"):
            for left in (-0.4, 0.12):
                self._strip(face, left, left + 0.28, 0.0, 1.0, shaded(who.stripe_colour, light))
        if who.sticker == face.kind or (who.sticker == "bonnet" and face.kind == "nose" and not self.body.has_bonnet):
            self._strip(face, -0.38, 0.38, 0.25, 0.8, shaded(who.sticker_colour, light))

    def _end(self, face: Face, light: float) -> None:
        lamp: Colour = (238, 234, 210) if face.kind == "nose" else (190, 24, 24)
        if self.who.stripe == "half":
            self._strip(face, -1.0, 1.0, *face.order(0.0, 0.5), shaded(self.who.stripe_colour, light))
        for left in (-0.94, 0.62):
            self._strip(face, left, left + 0.32, *face.order(0.58, 0.9), lamp)
        if face.kind == "nose":
            self._strip(face, -0.5, 0.5, *face.order(0.5, 0.85), (40, 42, 46))
        self._strip(face, -0.3, 0.3, *face.order(0.12, 0.36), (224, 224, 220))

    def _strip(self, face: Face, left: float, right: float, start: float, end: float, colour: Colour) -> None:
        corners = []
        for along, across in ((start, left), (start, right), (end, right), (end, left)):
            x, z = face.at(along)
            corners.append((x, across * self.body.half_width_at(z), z))
        self._polygon(corners, colour)

    def _side(self, side: int) -> None:
        who, body = self.who, self.body
        light = 0.84 + 0.1 * abs(self.sin)
        self._flat(side, body.profile, shaded(who.paint, light))
        if who.roof != who.paint:
            self._flat(side, body.cabin, shaded(who.roof, light))
        for window in body.windows:
            self._flat(side, window, shaded(GLASS, who.tint * 0.92))
        bands = {"belt": (0.235, 0.275), "sill": (0.1, 0.15), "half": (0.085, 0.18)}
        if who.stripe in bands:
            low, high = bands[who.stripe]
            self._pane(side, (-0.485, 0.48, low, high), shaded(who.stripe_colour, light))
        if who.sticker == "round":
            self._disc((-0.02, side * body.half_width, 0.2), 0.062, shaded(who.sticker_colour, light))
        elif who.sticker == "square":
            self._pane(side, body.panel, shaded(who.sticker_colour, light))
        for x in body.axles:
            self._disc((x, side * body.half_width, body.wheel), body.wheel, TYRE)
            self._disc((x, side * body.half_width, body.wheel), body.wheel * 0.6, who.hub)

    def _flat(self, side: int, outline: Sequence[Point], colour: Colour) -> None:
        self._polygon([(x, side * self.body.half_width_at(z), z) for x, z in outline], colour)

    def _pane(self, side: int, edges: tuple[float, float, float, float], colour: Colour) -> None:
        rear, front, low, high = edges
        self._flat(side, ((rear, low), (front, low), (front, high), (rear, high)), colour)

    def _load(self) -> None:
        (front, rear), z = self.body.roof_span, self.body.height
        middle = (front + rear) / 2
        if self.who.load == "box":
            self._block(rear + 0.03, front - 0.02, 0.11, z, z + 0.075)
        elif self.who.load == "sign":
            self._block(middle - 0.03, middle + 0.03, 0.07, z, z + 0.05)
        elif self.who.load == "rails":
            low, high = z + 0.03, z + 0.045
            for y in (-0.13, 0.13):
                self._polygon([(rear, y, low), (front, y, low), (front, y, high), (rear, y, high)], TYRE)
            for x in (rear + 0.04, middle, front - 0.04):
                end = x + 0.02
                bar = [(x, -0.13, low), (x, 0.13, low), (end, 0.13, low), (end, -0.13, low)]
                self._polygon(bar, self.who.load_colour)

    def _block(self, rear: float, front: float, half: float, low: float, high: float) -> None:
        colour = self.who.load_colour
        end = front if self.cos > 0.0 else rear
        side = half if self.sin > 0.0 else -half
        across = [(end, -half, low), (end, half, low), (end, half, high), (end, -half, high)]
        along = [(rear, side, low), (front, side, low), (front, side, high), (rear, side, high)]
        lid = [(rear, -half, high), (front, -half, high), (front, half, high), (rear, half, high)]
        for corners, light in ((across, 0.75), (along, 0.88), (lid, 1.0)):
            self._polygon(corners, shaded(colour, light))
