"""Images small enough for thousands of them in one page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import partial

from PIL import Image
from tqdm import tqdm

from fastreid_ext.data.image import UnreadableImage, read_image
from fastreid_ext.utils.threads import default_threads, in_order, single_threaded_pool

__all__ = ["Thumbnails", "as_jpeg", "fitted", "thumbnails"]

Thumbnails = tuple[list[bytes], list[UnreadableImage]]

_QUALITY = 75


def thumbnails(paths: Sequence[str], side: int) -> Thumbnails:
    """JPEGs of images, read by several threads; empty ones for those that cannot be read, and why.

    Args:
        paths: of the images, in whose order thumbnails are.
        side: the longer side of each, in pixels; smaller images stay as they are.
    """
    threads = default_threads()
    small, errors = [], []
    with single_threaded_pool(threads, name="thumbnails") as pool:
        found = in_order(partial(_thumbnail, side=side), iter(paths), pool=pool, ahead=4 * threads)
        for each in tqdm(found, total=len(paths), desc="thumbnails", unit="image", leave=False, disable=None):
            small.append(each if isinstance(each, bytes) else b"")
            if isinstance(each, UnreadableImage):
                errors.append(each)
    return small, errors


def fitted(image: Image.Image, side: int, *, enlarge: bool = False) -> Image.Image:
    """The image with its longer side of at most so many pixels, or just so many where it may be enlarged."""
    scale = side / max(image.size)
    if scale >= 1 and not enlarge:
        return image
    width, height = (max(1, round(length * scale)) for length in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3)


def as_jpeg(image: Image.Image, quality: int = _QUALITY) -> bytes:
    """The bytes of a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _thumbnail(path: str, side: int) -> bytes | UnreadableImage:
    try:
        return as_jpeg(fitted(read_image(path), side))
    except UnreadableImage as error:
        # A new one: the traceback of this holds the image.
        return UnreadableImage(error.path, error.reason)
