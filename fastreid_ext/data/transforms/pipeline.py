"""From stored images to the batch that a model takes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.buffers import BufferPool
from fastreid_ext.data.transforms.base import BatchTransform, Params, Size, choose, on_device
from fastreid_ext.data.transforms.normalize import Normalize
from fastreid_ext.data.transforms.window import PadCropFlip
from fastreid_ext.utils.threads import single_threaded_pool

__all__ = ["Drawn", "Pipeline"]

Images = Sequence[Tensor] | Tensor

# Less is done sooner than handed to another thread.
_PIXELS_A_THREAD = 2**18


class Drawn(NamedTuple):
    """What a transform drew for a batch: which images it changes, and its parameters."""

    chosen: NDArray[np.bool_]
    params: Params

    def part(self, which: slice) -> Drawn:
        """The same for a part of the batch."""
        return Drawn(self.chosen[which], choose(self.params, which))


class Finishing(Protocol):
    """A transform that changes normalised images in place, all of them at once."""

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params: ...

    def apply_(self, images: Tensor, params: Params) -> Tensor: ...


class Pipeline:
    """Augments and normalises batches in few passes over memory.

    Bytes are copied once by the window, turned into floats once by the normalisation, and erased where they lie.
    Whatever costs more is computed for the images that it was drawn for, and for no others.

    Args:
        normalize: bytes to floats.
        before: transforms of bytes ahead of the window.
        window: pads, crops and mirrors.
        after: transforms of bytes behind the window.
        finishing: transforms of the normalised floats.
        centre_crop: height and width of a crop from the middle, ahead of the normalisation.
        threads: that share the work on a CPU.
    """

    def __init__(
        self,
        normalize: Normalize,
        *,
        before: Sequence[BatchTransform] = (),
        window: PadCropFlip | None = None,
        after: Sequence[BatchTransform] = (),
        finishing: Sequence[Finishing] = (),
        centre_crop: Size | None = None,
        threads: int = 1,
    ) -> None:
        self.normalize, self.window, self.centre_crop, self.threads = normalize, window, centre_crop, threads
        self.before, self.after, self.finishing = tuple(before), tuple(after), tuple(finishing)
        self._bytes = BufferPool(torch.uint8)
        self._pool: ThreadPoolExecutor | None = None

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> list[Drawn]:
        """What each transform does to each of `count` images of that size, in the order of the transforms."""
        drawn = []
        for transform in (*self.before, *filter(None, [self.window]), *self.after):
            chosen = rng.random(count) < transform.prob
            drawn.append(Drawn(chosen, transform.draw(rng, count, size)))
            size = transform.output_size(size)
        everywhere = np.ones(count, dtype=np.bool_)
        return [*drawn, *(Drawn(everywhere, transform.draw(rng, count, size)) for transform in self.finishing)]

    def __call__(self, images: Images, drawn: Sequence[Drawn] = ()) -> Tensor:
        """Augmented, normalised images; the input is not changed.

        Args:
            images: a batch on a GPU, or views of images on a CPU.
            drawn: from `draw`, for these images.

        Shape:
            images: (B, 3, H, W), or B of (3, H, W); uint8.
            Result: (B, 3, H', W'), float32.
        """
        if isinstance(images, Tensor) and images.is_cuda:
            normalized = self.normalize(self._bytes_of(images, drawn))
        else:
            normalized = self._on_cpu(images, drawn)
        for finish, transform in zip(self.finishing, drawn[len(drawn) - len(self.finishing) :], strict=True):
            finish.apply_(normalized, transform.params)
        return normalized

    def output_size(self, size: Size) -> Size:
        """Height and width of what becomes of images of that size."""
        for transform in (*self.before, *self.after):
            size = transform.output_size(size)
        return self.centre_crop or size

    def _on_cpu(self, images: Images, drawn: Sequence[Drawn]) -> Tensor:
        """Parts of the batch side by side: what is computed for an image does not depend on the others."""
        if not len(images):
            return torch.empty(0, 3, 0, 0)
        height, width = images[0].shape[-2:]
        normalized = self.normalize.empty((len(images), 3, *self.output_size((height, width))))
        threads = min(self.threads, max(1, normalized.numel() // _PIXELS_A_THREAD))
        bounds = [len(images) * part // threads for part in range(threads + 1)]
        parts = [slice(start, stop) for start, stop in itertools.pairwise(bounds)]

        def fill(part: slice) -> None:
            own = self._bytes_of(images[part], [transform.part(part) for transform in drawn])
            self.normalize.into(normalized[part], own)

        if threads == 1:
            fill(parts[0])
            return normalized
        if self._pool is None:
            self._pool = single_threaded_pool(self.threads, name="augment")
        for done in [self._pool.submit(fill, part) for part in parts]:
            done.result()
        return normalized

    def _bytes_of(self, images: Images, drawn: Sequence[Drawn]) -> Images:
        """The images up to the normalisation."""
        left = iter(drawn)
        for transform in self.before:
            images = _augment(images, transform, next(left))
        if self.window is not None:
            images = self.window.apply(images, next(left).params, self._bytes.take)
        for transform in self.after:
            images = _augment(images, transform, next(left))
        return images if self.centre_crop is None else _centre(images, self.centre_crop)


def _augment(images: Images, transform: BatchTransform, drawn: Drawn) -> Images:
    places = np.flatnonzero(drawn.chosen)
    if not len(places):
        return images
    params = choose(drawn.params, places)
    if isinstance(images, Tensor) and len(places) == len(images):
        return transform.apply(images, params)
    if isinstance(images, Tensor) and images.is_cuda:
        where = on_device(places, images)
        return images.index_copy(0, where, transform.apply(images.index_select(0, where), params))
    views = list(images)
    for place, image in zip(places, transform.apply(torch.stack([views[i] for i in places]), params), strict=True):
        views[place] = image
    return views


def _centre(images: Images, size: Size) -> Images:
    height, width = size
    if isinstance(images, Tensor):
        top, left = (round((have - want) / 2) for have, want in zip(images.shape[-2:], size, strict=True))
        return images[..., top : top + height, left : left + width]
    parts: list[Tensor] = []
    for image in images:
        part = _centre(image, size)
        assert isinstance(part, Tensor)
        parts.append(part)
    return parts
