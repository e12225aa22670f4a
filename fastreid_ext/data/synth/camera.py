"""A camera: the side from which it sees, its place, its light and its faults."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from fastreid_ext.data.synth.background import SCENES, draw_scene
from fastreid_ext.data.synth.shapes import Colour, disc, pick, shaded

OCCLUDERS = ("pole", "box", "bush", "railing")


@dataclass(frozen=True)
class Camera:
    """What stays the same about one camera in all its images."""

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
        """Draw a camera; positions follow each other round the place, `variation` scales how far cameras differ."""
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
            occluder=pick(rng, OCCLUDERS),
            occluder_colour=pick(rng, ((70, 72, 76), (150, 60, 48), (58, 92, 60), (180, 176, 166))),
            occlusion=float(np.clip(0.22 * variation * 2.0 * rng.random(), 0.0, 0.8)),
            variation=variation,
        )

    def background(self, rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
        """A piece of this camera's place, `size` as width and height, near to where its subjects pass."""
        scene = _scene(self, size)
        slack = scene.width - size[0], scene.height - size[1]
        spread = min(1.0, 0.5 * self.variation)
        x, y = (round(room * (0.5 + spread * (rng.random() - 0.5))) for room in slack)
        return scene.crop((x, y, x + size[0], y + size[1]))

    def occlude(self, canvas: Image.Image, rng: np.random.Generator) -> None:
        """Now and then, something of the place stands in front of the subject."""
        if rng.random() >= self.occlusion:
            return
        draw, (width, height) = ImageDraw.Draw(canvas), canvas.size
        side, reach = rng.random(), rng.uniform(0.12, 0.3)
        colour = shaded(self.occluder_colour, float(rng.uniform(0.85, 1.15)))
        if self.occluder == "pole":
            draw.rectangle((side * width, 0, (side + 0.1) * width, height), fill=colour)
            draw.rectangle((side * width, 0, (side + 0.03) * width, height), fill=shaded(colour, 1.3))
        elif self.occluder == "box":
            left = width * (side * 0.9 - 0.2)
            draw.rectangle((left, height * (1.0 - 1.3 * reach), left + 0.45 * width, height), fill=colour)
            draw.rectangle((left, height * (1.0 - 1.3 * reach), left + 0.45 * width, height * (1.04 - 1.3 * reach)), fill=shaded(colour, 1.25))
        elif self.occluder == "bush":
            for x, y, radius in zip(rng.random(7), rng.random(7), rng.uniform(0.08, 0.16, 7), strict=True):
                leaf = shaded(colour, 0.8 + 0.4 * float(y))
                disc(draw, ((side * 0.8 + 0.3 * x) * width, height * (1.0 - reach * y)), radius * width, radius * width, leaf)
        else:
            for top in (1.0 - reach, 1.0 - reach / 2):
                draw.rectangle((0, height * top, width, height * (top + 0.025)), fill=colour)
            for x in range(round(-side * 0.3 * width), width, max(1, round(0.3 * width))):
                draw.rectangle((x, height * (1.0 - reach), x + 0.03 * width, height), fill=colour)

    def expose(self, image: Image.Image, rng: np.random.Generator) -> Image.Image:
        """Pass an image through light, lens and sensor."""
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
