"""One image: an identity, before a camera, at a moment."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from PIL import Image, ImageDraw

from fastreid_ext.data.synth.camera import Camera
from fastreid_ext.data.synth.person import PersonIdentity, Pose, draw_person
from fastreid_ext.data.synth.shapes import disc
from fastreid_ext.data.synth.vehicle import VehicleIdentity, View, draw_vehicle

__all__ = ["IDENTITIES", "Identity", "Kind", "render"]

Kind = Literal["person", "vehicle"]
Identity = PersonIdentity | VehicleIdentity
IDENTITIES: dict[str, type[PersonIdentity] | type[VehicleIdentity]] = {
    "person": PersonIdentity,
    "vehicle": VehicleIdentity,
}

# Everything is drawn this many times too large and then averaged, which smooths the edges.
OVERSAMPLING = 2


def render(identity: Identity, camera: Camera, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Draws one image; all that happens by chance comes from `rng`.

    Args:
        identity: who is seen.
        camera: by what.
        rng: pose, place, light and noise of this moment.
        size: height and width in pixels.
    """
    height, width = size
    canvas = camera.background(rng, (width * OVERSAMPLING, height * OVERSAMPLING))
    if isinstance(identity, PersonIdentity):
        _place_person(canvas, identity, camera, rng)
    else:
        _place_vehicle(canvas, identity, camera, rng)
    camera.occlude(canvas, rng)
    return camera.expose(canvas.reduce(OVERSAMPLING), rng)


def _turn(camera: Camera, rng: np.random.Generator) -> float:
    back = math.pi if rng.random() < 0.2 * camera.variation else 0.0
    return camera.yaw + back + 0.35 * camera.variation * float(rng.standard_normal())


def _shift(camera: Camera, rng: np.random.Generator, spread: float) -> float:
    return spread * camera.variation * float(np.clip(rng.standard_normal(), -2.0, 2.0))


def _place_person(canvas: Image.Image, identity: PersonIdentity, camera: Camera, rng: np.random.Generator) -> None:
    width, height = canvas.size
    tall = height * 0.88 * (1.0 + _shift(camera, rng, 0.045))
    feet = width * (0.5 + _shift(camera, rng, 0.05)), (height + tall) / 2 + height * _shift(camera, rng, 0.018)
    pose = Pose(
        yaw=_turn(camera, rng),
        step=min(1.0, camera.variation) * float(rng.uniform(-0.55, 0.55)),
        arms=min(1.0, camera.variation) * float(rng.uniform(-0.6, 0.6)),
        feet=feet,
        height=tall,
    )
    _shadow(canvas, feet, 0.17 * tall, 0.02 * tall)
    draw_person(canvas, identity, pose)


def _place_vehicle(canvas: Image.Image, identity: VehicleIdentity, camera: Camera, rng: np.random.Generator) -> None:
    width, height = canvas.size
    yaw = _turn(camera, rng)
    # A crop fits its vehicle: what is seen from its end is nearer to the camera than what is seen from its side.
    length = width * (0.8 + 0.3 * abs(math.cos(yaw))) * (1.0 + _shift(camera, rng, 0.05))
    centre = width * (0.5 + _shift(camera, rng, 0.03)), height * (0.56 + _shift(camera, rng, 0.03))
    tilt = camera.tilt + _shift(camera, rng, 0.04)
    _shadow(canvas, (centre[0], centre[1] + 0.17 * length), 0.48 * length * max(0.55, abs(math.sin(yaw))), 0.1 * length)
    draw_vehicle(canvas, identity, View(yaw=yaw, tilt=tilt, centre=centre, length=length))


def _shadow(canvas: Image.Image, centre: tuple[float, float], radius_x: float, radius_y: float) -> None:
    disc(ImageDraw.Draw(canvas), centre, radius_x, radius_y, (52, 52, 56))
