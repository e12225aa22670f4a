"""Image files to RGB images, whatever is in them."""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = ["UnreadableImage", "as_rgb", "read_image"]


class UnreadableImage(Exception):  # noqa: N818
    """An image file that is missing, cut short or corrupt; `path` and `reason` tell which and why."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        # Names of files are bytes, which need not be text; logs and consoles are.
        return f"{self.path}: {self.reason}".encode("utf-8", "backslashreplace").decode()


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Decodes a whole file to what `as_rgb` makes of it.

    Raises:
        UnreadableImage: the file is missing, empty, cut short, corrupt or too large to decode.
    """
    try:
        with Image.open(path) as image:
            return as_rgb(image)
    except FileNotFoundError as error:
        raise UnreadableImage(os.fspath(path), "no such file") from error
    except UnidentifiedImageError as error:
        empty = os.path.getsize(path) == 0  # noqa: PTH202  # the path may be a string
        raise UnreadableImage(os.fspath(path), "the file is empty" if empty else "not an image") from error
    except Exception as error:
        # Damaged files make Pillow's decoders raise almost anything: a bad EXIF tag is a TypeError.
        raise UnreadableImage(os.fspath(path), f"{type(error).__name__}: {error}") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """The image in 8-bit RGB, turned upright as its EXIF orientation says.

    Greyscale of 1, 8, 16 and 32 bits, palettes, CMYK and transparency are converted. 16-bit values are scaled, not
    clipped; what is transparent becomes black. What the decoder of a damaged image raises can be almost anything.
    """
    image.load()
    return _to_rgb(ImageOps.exif_transpose(image))


def _to_rgb(image: Image.Image) -> Image.Image:
    transparent = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    if image.mode == "RGB" and not transparent:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_grey(image).convert("RGB")
    if transparent:
        opaque = Image.new("RGBA", image.size, (0, 0, 0, 255))
        opaque.alpha_composite(image.convert("RGBA"))
        return opaque.convert("RGB")
    return image.convert("RGB")


def _scale_grey(image: Image.Image) -> Image.Image:
    """Wide greyscale to 8 bits: integers are 16-bit values, fractions are 0 to 1 unless they exceed it."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("values that are not finite")
    if image.mode == "F":
        scale = 255.0 if values.max(initial=0.0) <= 1.0 else 1.0
    else:
        scale = 255.0 / 65535.0 if image.mode.startswith("I;16") or values.max(initial=0.0) > 255.0 else 1.0
    return Image.fromarray(np.clip(np.rint(values * scale), 0, 255).astype(np.uint8))
