"""Images of any kind as the bytes that models take."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fastreid_ext.data.datasets.files import IMAGE_SUFFIXES, image_paths
from fastreid_ext.data.decode import decode, resize
from fastreid_ext.data.image import UnreadableImage, as_rgb

__all__ = ["ImageLike", "UnreadableImages", "as_list", "each", "image_bytes", "images_in"]

ImageLike: TypeAlias = "str | os.PathLike[str] | Image.Image | NDArray[Any] | Tensor"
"""A path, a PIL image, an RGB array (H, W, 3) or a grey one (H, W), or an RGB tensor (3, H, W)."""

_LISTED = 20


class UnreadableImages(UnreadableImage):
    """One or more images that could not be read; `errors` are theirs, `path` and `reason` those of the first."""

    def __init__(self, errors: Sequence[UnreadableImage]) -> None:
        self.errors = list(errors)
        super().__init__(self.errors[0].path, self.errors[0].reason)

    def __str__(self) -> str:
        if len(self.errors) == 1:
            return str(self.errors[0])
        listed = "\n  ".join(str(error) for error in self.errors[:_LISTED])
        more = f"\n  and {len(self.errors) - _LISTED} more" if len(self.errors) > _LISTED else ""
        return f"{len(self.errors)} images cannot be read:\n  {listed}{more}"


def images_in(folder: str | os.PathLike[str]) -> list[Path]:
    """The image files of a folder and below, in the order of their paths: links are followed, hidden ones left out.

    Raises:
        NotADirectoryError: it is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder.absolute()} is not a folder")
    return [folder / path for path in image_paths(folder)]


def as_list(images: ImageLike | Iterable[ImageLike]) -> list[ImageLike]:
    """All of `each`.

    Raises:
        ValueError, TypeError: see there.
    """
    return list(each(images))


def each(images: ImageLike | Iterable[ImageLike]) -> Iterable[ImageLike]:
    """The images that are meant: one, those of a batch, those of a folder, or those of any other iterable, as it is.

    Shape:
        images: where it is an array, (H, W), (H, W, 3) or (N, H, W, 3); where it is a tensor, (3, H, W) or
            (N, 3, H, W).

    Raises:
        ValueError: a folder without images.
        TypeError: it is no image and not iterable.
    """
    if isinstance(images, (str, os.PathLike)):
        return _of_path(images)
    if isinstance(images, (np.ndarray, Tensor)):
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, Image.Image):
        return [images]
    if not isinstance(images, Iterable):
        raise TypeError(f"images are paths, PIL images, arrays, tensors, or several of these, not {type(images)}")
    return images


def image_bytes(image: ImageLike, size: tuple[int, int]) -> Tensor:
    """An image as the evaluation sees it before it is cropped and normalised.

    Files go through `decode`, everything else through the same resize. Arrays and tensors are taken for RGB, which
    OpenCV's are not: turn those with `image[..., ::-1]`. Floats lie between 0 and 1.

    Args:
        image: see `ImageLike`.
        size: height and width.

    Shape:
        Result: (3, H, W), uint8, in host memory.

    Raises:
        UnreadableImage: the file is missing or damaged, or the pixels cannot be those of an image.
        TypeError: it is no image at all.
    """
    if isinstance(image, (str, os.PathLike)):
        return decode(image, size)
    if isinstance(image, Image.Image):
        return resize(_of_pil(image), size)
    if isinstance(image, (np.ndarray, Tensor)):
        try:
            return resize(_of_values(image), size)
        except ValueError as error:
            kind = "a tensor" if isinstance(image, Tensor) else "an array"
            raise UnreadableImage(f"{kind} {tuple(image.shape)} of {image.dtype}", str(error)) from error
    raise TypeError(f"an image is a path, a PIL image, an array or a tensor, not {type(image)}: {str(image)[:80]}")


def _of_path(path: str | os.PathLike[str]) -> Sequence[ImageLike]:
    if not Path(path).is_dir():
        return [path]
    if found := images_in(path):
        return found
    raise ValueError(f"no images in {Path(path).absolute()}: their names end in {', '.join(IMAGE_SUFFIXES)}")


def _of_pil(image: Image.Image) -> Tensor:
    try:
        pixels = np.array(as_rgb(image))
    except Exception as error:
        # Files are read when pixels are asked for, and damaged ones make Pillow's decoders raise almost anything.
        name = str(getattr(image, "filename", "")) or f"a PIL image of {image.size}"
        raise UnreadableImage(name, f"{type(error).__name__}: {error}") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _of_values(image: NDArray[Any] | Tensor) -> Tensor:
    if isinstance(image, Tensor):
        values, expected = image.detach().cpu(), "(3, H, W)"
    else:
        # Neither torch nor a caller who changes the array later may be surprised.
        values, expected = torch.from_numpy(np.array(image)), "(H, W, 3) or (H, W)"
        values = values[None] if values.ndim == 2 else values.movedim(-1, 0)
    if values.ndim != 3 or values.shape[0] not in (1, 3) or not values.numel():
        raise ValueError(f"its shape should be {expected}")
    return _as_bytes(values).expand(3, -1, -1)


def _as_bytes(values: Tensor) -> Tensor:
    if values.dtype == torch.uint8:
        return values
    if not values.is_floating_point():
        raise ValueError("its values should be uint8, or floats from 0 to 1")
    # A comparison that is false of what is not a number.
    if not (values.amin() >= 0 and values.amax() <= 1):
        raise ValueError("floats should lie between 0 and 1: divide by 255, or give uint8")
    return (values * 255).round().to(torch.uint8)
