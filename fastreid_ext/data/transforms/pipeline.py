"""From stored images to the batch that a model takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import center_crop

from fastreid_ext.data.buffers import BufferPool
from fastreid_ext.data.image_store.base import Rows
from fastreid_ext.data.transforms.base import BatchTransform, Params, Size, choose, on_device
from fastreid_ext.data.transforms.normalize import Normalize
from fastreid_ext.data.transforms.picked import Picked
from fastreid_ext.data.transforms.random_erasing import RandomErasing
from fastreid_ext.data.transforms.window import PadCropFlip

__all__ = ["Drawn", "Pipeline"]


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

    On a CPU one pass moves, mirrors, normalises and erases what a store holds. Whatever costs more is computed for the
    images that it was drawn for, and for no others.

    Args:
        normalize: bytes to floats.
        before: transforms of bytes ahead of the window.
        window: pads, crops and mirrors.
        after: transforms of bytes behind the window.
        erasing: erases what is normalised.
        finishing: further transforms of the normalised floats.
        centre_crop: height and width of a crop from the middle, ahead of the normalisation.
    """

    def __init__(
        self,
        normalize: Normalize,
        *,
        before: Sequence[BatchTransform] = (),
        window: PadCropFlip | None = None,
        after: Sequence[BatchTransform] = (),
        erasing: RandomErasing | None = None,
        finishing: Sequence[Finishing] = (),
        centre_crop: Size | None = None,
    ) -> None:
        self.normalize, self.window, self.erasing, self.centre_crop = normalize, window, erasing, centre_crop
        self.before, self.after, self.finishing = tuple(before), tuple(after), tuple(finishing)
        self._bytes = BufferPool(torch.uint8)

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> list[Drawn]:
        """What each transform does to each of `count` images of that size, in the order of the transforms."""
        drawn = []
        for transform in (*self.before, *filter(None, [self.window]), *self.after):
            chosen = rng.random(count) < transform.prob
            drawn.append(Drawn(chosen, transform.draw(rng, count, size)))
            size = transform.output_size(size)
        everywhere = np.ones(count, dtype=np.bool_)
        last = (*filter(None, [self.erasing]), *self.finishing)
        return [*drawn, *(Drawn(everywhere, transform.draw(rng, count, size)) for transform in last)]

    def __call__(self, images: Rows | Tensor, drawn: Sequence[Drawn] = ()) -> Tensor:
        """Augmented, normalised images; the input is not changed.

        Args:
            images: a batch, or references to images in host memory.
            drawn: from `draw`, for these images.

        Shape:
            images: (B, 3, H, W), uint8.
            Result: (B, 3, H', W'), float32.
        """
        left = iter([each.params for each in drawn[len(self.before) + len(self.after) + (self.window is not None) :]])
        if isinstance(images, Tensor) and images.is_cuda:
            normalized = self._on_gpu(images, drawn)
            if self.erasing is not None:
                self.erasing.apply_(normalized, next(left))
        else:
            erased = next(left) if self.erasing is not None else None
            normalized = self._on_cpu(Picked(*images) if isinstance(images, Rows) else Picked(images), drawn, erased)
        for finish in self.finishing:
            finish.apply_(normalized, next(left))
        return normalized

    def _on_gpu(self, images: Tensor, drawn: Sequence[Drawn]) -> Tensor:
        left = iter(drawn)
        for transform in self.before:
            images = _augment(images, transform, next(left))
        if self.window is not None:
            images = self.window.apply(images, next(left).params)
        for transform in self.after:
            images = _augment(images, transform, next(left))
        return self.normalize(images if self.centre_crop is None else center_crop(images, list(self.centre_crop)))

    def _on_cpu(self, batch: Picked, drawn: Sequence[Drawn], erased: Params | None) -> Tensor:
        left = iter(drawn)
        for transform in self.before:
            batch = _augment_picked(batch, transform, next(left))
        changes = self.window.placing(next(left).params) if self.window is not None else {}
        if self.after and changes:
            batch, changes = Picked(batch.place(self._bytes.take((len(batch), 3, *batch.size)), **changes)), {}
        for transform in self.after:
            batch = _augment_picked(batch, transform, next(left))
        if self.centre_crop is not None:
            batch = Picked(center_crop(batch.take(np.arange(len(batch))), list(self.centre_crop)))
        fills = self.erasing.fills(erased) if self.erasing is not None and erased is not None else {}
        normalized = self.normalize.place(batch, **changes, **fills)
        if self.erasing is not None and erased is not None and not fills:
            self.erasing.apply_(normalized, erased)
        return normalized


def _augment(images: Tensor, transform: BatchTransform, drawn: Drawn) -> Tensor:
    places = np.flatnonzero(drawn.chosen)
    if not len(places):
        return images
    params = choose(drawn.params, places)
    if len(places) == len(images):
        return transform.apply(images, params)
    where = on_device(places, images)
    return images.index_copy(0, where, transform.apply(images.index_select(0, where), params))


def _augment_picked(batch: Picked, transform: BatchTransform, drawn: Drawn) -> Picked:
    places = np.flatnonzero(drawn.chosen)
    if not len(places):
        return batch
    return batch.replaced(places, transform.apply(batch.take(places), choose(drawn.params, places)))
