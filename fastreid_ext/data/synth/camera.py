"""A camera: the side from which it sees, its place, its light and its faults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageFilter

from fastreid_ext.data.synth.background import SCENES, draw_scene
from fastreid_ext.data.synth.occluder import OCCLUDERS, draw_occluder
from fastreid_ext.data.synth.shapes import Colour, pick

__all__ = ["Camera"]


@dataclass(frozen=True)
class Camera:
    """What stays the same about one camera in all its images.

    Attributes:
        yaw: angle from which it sees those who face the place's front, in radians.
        tilt: how far it looks down, in radians.
        gain: factors on red, green and blue, its light and its colour cast.
        saturation: 1 keeps the colours, 0 makes them grey.
        gamma: exponent of its tone curve.
        haze: what its darkest black becomes, of 255.
        blur: radius of its lens' blur in pixels.
        sharpness: share of the picture's size that it resolves.
        noise: standard deviation of its sensor's noise, of 255.
        quality: of its JPEG files.
        style: a key of `SCENES`, its place.
        horizon: share of the picture above the ground.
        scene_seed: draws the place.
        occluder: a key of `OCCLUDERS`, what stands in its way.
        occluder_colour: that one's colour.
        occlusion: share of the images in which it does.
        variation: how much its images differ from each other.
    """

    yaw: float
    tilt: float
    gain: tuple[float, float, float]
    saturation: float
    gamma: float
    haze: float
    blur: float
    sharpness: float
    noise: float
    quality: int
    style: str
    horizon: float
    scene_seed: int
    occluder: str
    occluder_colour: Colour
    occlusion: float
    variation: float

    @classmethod
    def sample(cls, rng: np.random.Generator, position: int, variation: float = 1.0) -> Camera:
        """Draws a camera.

        Args:
            rng: all that is by chance.
            position: number of the camera; successive ones look from sides far from each other.
            variation: how far cameras differ; with 0, only in their places and heights.
        """
        styles = tuple(SCENES)
        light = math.exp(0.24 * variation * rng.standard_normal())
        red, green, blue = (light * math.exp(0.13 * variation * value) for value in rng.standard_normal(3))
        turn = (position * 0.381966 + rng.uniform(-0.06, 0.06)) % 1.0 - 0.5
        return cls(
            yaw=2 * math.pi * turn * min(1.0, variation),
            tilt=float(rng.uniform(0.2, 0.45)),
            gain=(red, green, blue),
            saturation=float(np.clip(1.0 - 0.3 * variation * rng.random(), 0.2, 1.0)),
            gamma=math.exp(0.2 * variation * rng.standard_normal()),
            haze=float(22.0 * variation * rng.random()),
            blur=float(0.8 * variation * rng.random() ** 2),
            sharpness=float(np.clip(1.0 - 0.5 * variation * rng.random(), 0.3, 1.0)),
            noise=float(6.0 * variation * rng.random()),
            quality=int(rng.integers(70, 93)),
            style=styles[(position + int(rng.integers(2))) % len(styles)],
            horizon=float(rng.uniform(0.48, 0.66)),
            scene_seed=int(rng.integers(2**31)),
            occluder=pick(rng, tuple(OCCLUDERS)),
            occluder_colour=pick(rng, ((70, 72, 76), (150, 60, 48), (58, 92, 60), (180, 176, 166))),
            occlusion=float(np.clip(0.22 * variation * 2.0 * rng.random(), 0.0, 0.8)),
            variation=variation,
        )

    def background(self, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
        """A piece of this camera's place, `size` as width and height in pixels, near to where its subjects pass."""
        scene = _scene(self, size)
        slack = scene.width - size[0], scene.height - size[1]
        spread = min(1.0, 0.5 * self.variation)
        x, y = (round(room * (0.5 + spread * (rng.random() - 0.5))) for room in slack)
        return scene.crop((x, y, x + size[0], y + size[1]))

    def occlude(self, canvas: Image.Image, rng: np.random.Generator) -> None:
        """Now and then draws something of the place in front of the subject, on the canvas."""
        if rng.random() < self.occlusion:
            draw_occluder(canvas, rng, self.occluder, self.occluder_colour)

    def expose(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """The image after light, lens and sensor; the given one stays as it is."""
        gain = math.exp(0.1 * self.variation * rng.standard_normal())
        image = image.convert("RGB", self._colour_matrix(gain))
        image = image.point(_tone_curve(self.gamma, self.haze) * 3)
        size, sharpness = image.size, self.sharpness * (1.0 - 0.15 * min(1.0, self.variation) * rng.random())
        if sharpness < 0.97:
            coarse = max(8, round(size[0] * sharpness)), max(8, round(size[1] * sharpness))
            image = image.resize(coarse, Image.Resampling.BILINEAR).resize(size, Image.Resampling.BILINEAR)
        if self.blur > 0.25:
            image = image.filter(ImageFilter.GaussianBlur(self.blur))
        grain = rng.standard_normal((size[1], size[0], 3), dtype=np.float32) * np.float32(self.noise)
        return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))

    def _colour_matrix(self, gain: float) -> tuple[float, ...]:
        grey = (0.299, 0.587, 0.114)
        rows: list[float] = []
        for channel, own in enumerate(self.gain):
            mix = [(1.0 - self.saturation) * share for share in grey]
            mix[channel] += self.saturation
            rows += [own * gain * value for value in mix] + [0.0]
        return tuple(rows)


@lru_cache(maxsize=256)
def _tone_curve(gamma: float, haze: float) -> list[int]:
    return [round(haze + (255.0 - haze) * (value / 255.0) ** gamma) for value in range(256)]


@lru_cache(maxsize=32)
def _scene(camera: Camera, size: tuple[int, int]) -> Image.Image:
    rng = np.random.default_rng(camera.scene_seed)
    return draw_scene(rng, camera.style, (size[0] * 3, size[1] * 6 // 5), camera.horizon)
