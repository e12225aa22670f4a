"""Drawn people: who somebody is, and how that looks from a given side in a given pose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.synth.cloth import CLOTH_COLOURS, COLUMNS, Top, top_texture
from fastreid_ext.data.synth.shapes import Colour, Point, disc, jittered, limb, pick, shaded, wrap

__all__ = ["PersonIdentity", "Pose", "draw_person"]

SKINS: tuple[Colour, ...] = ((236, 196, 170), (218, 172, 136), (176, 124, 88), (118, 78, 56))
HAIRS: tuple[Colour, ...] = ((28, 24, 24), (72, 48, 32), (132, 90, 52), (206, 170, 104), (150, 148, 146))

# Heights of the joints, as shares of the body height, from the crown down.
CHIN, SHOULDER, ELBOW, WRIST, HIP, KNEE, ANKLE = 0.13, 0.165, 0.33, 0.475, 0.49, 0.72, 0.95


@dataclass(frozen=True)
class Pose:
    """How a person stands in the picture.

    Attributes:
        yaw: turn in radians, 0 faces the camera.
        step: swing of the legs in radians.
        arms: swing of the arms in radians.
        feet: the point of the picture between the feet, in pixels.
        height: from crown to ground, in pixels.
    """

    yaw: float
    step: float
    arms: float
    feet: Point
    height: float


@dataclass(frozen=True)
class PersonIdentity:
    """What stays the same about one person in all pictures.

    Attributes:
        build: factor on the width of the body.
        skin: colour of face, hands and bare limbs.
        hair: its colour.
        hair_style: "short", "long", "bun" or "bald".
        hat: its colour, if there is one.
        top: what the upper body wears, with the straps of a bag.
        sleeves: their colour.
        long_sleeves: whether they reach the wrists.
        hem: where the upper garment ends, as a share of the height from the crown.
        lower: "trousers", "shorts" or "skirt".
        lower_colour: its colour.
        shoes: their colour.
        bag: "none", "backpack", "shoulder" or "hand".
        bag_colour: its colour.
        bag_side: -1 for the right, 1 for the left.
    """

    build: float
    skin: Colour
    hair: Colour
    hair_style: str
    hat: Colour | None
    top: Top
    sleeves: Colour
    long_sleeves: bool
    hem: float
    lower: str
    lower_colour: Colour
    shoes: Colour
    bag: str
    bag_colour: Colour
    bag_side: int

    @classmethod
    def sample(cls, rng: np.random.Generator) -> PersonIdentity:
        """Draws lots for a person; colours come from a short list, so that people share them."""
        bag = pick(rng, ("none", "backpack", "shoulder", "hand"), (3.5, 2.5, 2.0, 2.0))
        bag_colour = jittered(CLOTH_COLOURS[pick(rng, ("black", "red", "blue", "beige", "green", "yellow"))], rng)
        top = Top.sample(rng)
        sleeves = top.accent if rng.random() < 0.2 else top.colour
        bag_side = pick(rng, (-1, 1))
        if bag in ("backpack", "shoulder"):
            top = replace(top, strap=shaded(bag_colour, 0.8), strap_lean=bag_side if bag == "shoulder" else 0)
        lower_colour = pick(rng, ("black", "navy", "grey", "beige", "blue", "white", "red"), (3, 3, 2, 2, 1.5, 1, 0.7))
        has_hat = rng.random() < 0.22
        return cls(
            build=float(rng.uniform(0.84, 1.26)),
            skin=jittered(pick(rng, SKINS, (3, 3, 2, 2)), rng, 4.0),
            hair=jittered(pick(rng, HAIRS, (4, 3, 2, 2, 1)), rng, 4.0),
            hair_style=pick(rng, ("short", "long", "bun", "bald"), (5, 3, 1.5, 0.8)),
            hat=jittered(CLOTH_COLOURS[pick(rng, ("black", "red", "blue", "white"))], rng) if has_hat else None,
            top=top,
            sleeves=sleeves,
            long_sleeves=bool(rng.random() < 0.6),
            hem=pick(rng, (0.5, 0.53, 0.66), (4, 3, 1.8)),
            lower=pick(rng, ("trousers", "shorts", "skirt"), (5, 2.2, 1.8)),
            lower_colour=jittered(CLOTH_COLOURS[lower_colour], rng),
            shoes=jittered(CLOTH_COLOURS[pick(rng, ("black", "white", "beige", "red"), (4, 3, 1, 0.8))], rng),
            bag=bag,
            bag_colour=bag_colour,
            bag_side=bag_side,
        )


def draw_person(canvas: Image.Image, identity: PersonIdentity, pose: Pose) -> None:
    """Paints a person on the canvas, far parts first."""
    figure = _Figure(canvas, identity, pose)
    for _, paint in sorted(figure.parts(), key=lambda part: part[0]):
        paint()


class _Figure:
    """One person in one pose; x points to its left, y down, z out of its breast, in body heights."""

    def __init__(self, canvas: Image.Image, identity: PersonIdentity, pose: Pose) -> None:
        self.canvas, self.who, self.pose = canvas, identity, pose
        self.draw = ImageDraw.Draw(canvas)
        self.cos, self.sin = math.cos(pose.yaw), math.sin(pose.yaw)
        self.scale = pose.height

    def parts(self) -> list[tuple[float, Callable[[], None]]]:
        """Everything to paint, each with its nearness to the camera."""
        who = self.who
        parts: list[tuple[float, Callable[[], None]]] = [(0.0, self._torso), (0.02, self._head)]
        for side in (-1, 1):
            nearness = self._near(0.1 * side, 0.0)
            parts.append((nearness - 0.2, partial(self._leg, side)))
            parts.append((nearness + 0.001, partial(self._arm, side)))
        if who.lower == "skirt":
            parts.append((-0.01, self._skirt))
        if who.bag == "backpack":
            parts.append((self._near(0.0, -0.11), self._backpack))
        elif who.bag == "shoulder":
            parts.append((self._near(0.13 * who.bag_side, 0.0) * 1.2, self._shoulder_bag))
        elif who.bag == "hand":
            parts.append((self._near(0.15 * who.bag_side, 0.0) * 1.2, self._hand_bag))
        if who.hair_style == "long":
            parts.append((0.03 + self._near(0.0, -0.06), self._long_hair))
        return parts

    def _near(self, x: float, z: float) -> float:
        return -x * self.sin + z * self.cos

    def _at(self, x: float, y: float, z: float = 0.0) -> Point:
        feet_x, feet_y = self.pose.feet
        return feet_x + (x * self.cos + z * self.sin) * self.scale, feet_y + (y - 1.0) * self.scale

    def _girth(self, half_width: float, half_depth: float) -> float:
        return math.hypot(half_width * self.cos, half_depth * self.sin) * self.who.build

    def _facing(self, x: float) -> float:
        return 0.86 + 0.9 * self._near(x, 0.0)

    def _leg(self, side: int) -> None:
        who, scale = self.who, self.scale
        swing = side * self.pose.step
        hip = self._at(0.048 * side * who.build, HIP + 0.01)
        knee = self._at(0.05 * side * who.build, KNEE, 0.6 * math.sin(swing) * (KNEE - HIP))
        lift = 0.03 * max(0.0, -swing)
        ankle_z = math.sin(swing) * (ANKLE - HIP) * 0.8
        ankle = self._at(0.05 * side * who.build, ANKLE - lift, ankle_z)
        toe = self._at(0.055 * side * who.build, ANKLE + 0.025 - lift, ankle_z + 0.07)
        light = self._facing(0.1 * side)
        cloth, skin = shaded(who.lower_colour, light), shaded(who.skin, light)
        thick = scale * (0.75 + 0.25 * who.build)
        limb(self.draw, ankle, toe, (0.026 * scale, 0.02 * scale), shaded(who.shoes, light))
        covered = who.lower == "trousers"
        limb(self.draw, knee, ankle, (0.042 * thick, 0.03 * thick), cloth if covered else skin)
        limb(self.draw, hip, knee, (0.06 * thick, 0.044 * thick), skin if who.lower == "skirt" else cloth)

    def _arm(self, side: int) -> None:
        who, scale = self.who, self.scale
        swing = -side * self.pose.arms
        out = 0.118 * side * who.build
        shoulder = self._at(out, SHOULDER + 0.03)
        elbow = self._at(out * 1.2, ELBOW, math.sin(swing) * (ELBOW - SHOULDER))
        wrist = self._at(out * 1.2, WRIST - 0.01, math.sin(swing * 1.25) * (WRIST - SHOULDER) + 0.03)
        light = self._facing(0.1 * side)
        cloth, skin = shaded(who.sleeves, light), shaded(who.skin, light)
        disc(self.draw, wrist, 0.022 * scale, 0.024 * scale, skin)
        limb(self.draw, elbow, wrist, (0.029 * scale, 0.021 * scale), cloth if who.long_sleeves else skin)
        limb(self.draw, shoulder, elbow, (0.038 * scale, 0.031 * scale), cloth)

    def _torso(self) -> None:
        rows = max(4, round((self.who.hem - SHOULDER + 0.025) * self.scale))
        hips = 0.92 + 0.1 * (self.who.hem > 0.6)
        outline = np.interp(np.arange(rows) / (rows - 1), (0.0, 0.04, 0.12, 0.6, 1.0), (0.4, 0.72, 1.0, 0.82, hips))
        neck = self._at(0.0, CHIN)
        limb(self.draw, neck, self._at(0.0, SHOULDER), (0.03 * self.scale,) * 2, shaded(self.who.skin, 0.85))
        x, y = self._at(0.0, SHOULDER - 0.025)
        half_widths = outline * self._girth(0.122, 0.08) * self.scale
        wrap(self.canvas, top_texture(self.who.top), x, y, half_widths, self.pose.yaw)

    def _skirt(self) -> None:
        rows = max(4, round(0.2 * self.scale))
        texture = np.empty((1, COLUMNS, 3), np.uint8)
        texture[:] = self.who.lower_colour
        x, y = self._at(0.0, HIP - 0.02)
        half_widths = np.linspace(0.8, 1.25, rows) * self._girth(0.11, 0.09) * self.scale
        wrap(self.canvas, texture, x, y, half_widths, self.pose.yaw)

    def _head(self) -> None:
        who, scale = self.who, self.scale
        head = self._at(0.0, 0.075, 0.012)
        width = self._girth(0.044, 0.052) / who.build * scale
        if who.hair_style == "bun" and who.hat is None:
            disc(self.draw, self._at(0.0, 0.03, -0.035), 0.03 * scale, 0.03 * scale, who.hair)
        if who.hair_style == "bald":
            disc(self.draw, head, width, 0.062 * scale, shaded(who.skin, 0.97))
        else:
            disc(self.draw, self._at(0.0, 0.066, -0.004), width * 1.14, 0.066 * scale, who.hair)
        face = max(0.0, 0.25 + 0.75 * self.cos)
        if face > 0.0:
            disc(self.draw, self._at(0.0, 0.088, 0.03), width * 0.9 * min(1.0, face + 0.3), 0.05 * scale, who.skin)
        if who.hat is not None:
            self._hat(who.hat, width)

    def _hat(self, colour: Colour, width: float) -> None:
        x, y = self._at(0.0, 0.055)
        box = (x - width * 1.2, y - 0.058 * self.scale, x + width * 1.2, y + 0.05 * self.scale)
        self.draw.pieslice(box, 180, 360, fill=colour)
        brim = self._at(0.0, 0.052, 0.085)
        limb(self.draw, (x, y - 0.005 * self.scale), brim, (0.011 * self.scale,) * 2, shaded(colour, 0.7))

    def _long_hair(self) -> None:
        scale = self.scale
        top, end = self._at(0.0, 0.07, -0.02), self._at(0.0, 0.235, -0.045)
        radius = self._girth(0.05, 0.04) / self.who.build * scale
        limb(self.draw, top, end, (radius, radius * 0.9), shaded(self.who.hair, 0.92))

    def _backpack(self) -> None:
        scale = self.scale
        x, y = self._at(0.0, 0.185, -0.125)
        half = self._girth(0.092, 0.055) / self.who.build * scale
        box = (x - half, y, x + half, y + 0.24 * scale)
        self.draw.rounded_rectangle(box, radius=0.35 * half, fill=self.who.bag_colour)
        pocket = (x - 0.7 * half, y + 0.13 * scale, x + 0.7 * half, y + 0.21 * scale)
        self.draw.rounded_rectangle(pocket, radius=0.2 * half, fill=shaded(self.who.bag_colour, 0.7))

    def _shoulder_bag(self) -> None:
        self._bag((0.15 * self.who.bag_side * self.who.build, 0.44), (0.075, 0.11))

    def _hand_bag(self) -> None:
        side = self.who.bag_side
        x = 0.145 * side * self.who.build
        z = math.sin(-side * self.pose.arms * 1.25) * (WRIST - SHOULDER) + 0.03
        hand = self._at(x, WRIST, z)
        limb(self.draw, hand, self._at(x, WRIST + 0.05, z), (0.01 * self.scale,) * 2, shaded(self.who.bag_colour, 0.6))
        self._bag((x, WRIST + 0.045), (0.08, 0.12), z)

    def _bag(self, place: Point, size: tuple[float, float], z: float = 0.0) -> None:
        # A bag at the side hangs flat along the body: seen from the side it is broad, from the front narrow.
        half = math.hypot(0.035 * self.cos, size[0] * self.sin) * self.scale
        x, y = self._at(place[0], place[1], z)
        box = (x - half, y, x + half, y + size[1] * self.scale)
        self.draw.rounded_rectangle(box, radius=0.25 * half, fill=self.who.bag_colour)
        flap = (x - half, y, x + half, y + 0.35 * size[1] * self.scale)
        self.draw.rounded_rectangle(flap, radius=0.25 * half, fill=shaded(self.who.bag_colour, 0.75))
