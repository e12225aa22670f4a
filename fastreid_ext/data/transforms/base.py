"""What an augmentation of a batch is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["BatchTransform", "Params", "Size", "choose", "on_device"]

Size = tuple[int, int]
"""Height and width in pixels."""

Params = dict[str, NDArray[Any]]
"""What was drawn, by name; the first axis of every array counts the images."""


class BatchTransform(ABC):
    """Augments the images of a batch, each with parameters of its own.

    What is random is drawn on the host, for whole batches and from one generator; what it does to the pixels is
    computed where the images are. So the parameters of a batch are the same on every device, and reading them never
    waits for a GPU.

    Args:
        prob: probability that an image is augmented at all.
    """

    def __init__(self, *, prob: float = 1.0) -> None:
        self.prob = prob

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        """Parameters of `count` images of that size, by name.

        How much is drawn from the generator depends on `count` alone, so that a part of a batch can be augmented as it
        would be within the whole.
        """

    @abstractmethod
    def apply(self, images: Tensor, params: Params) -> Tensor:
        """New images; the input is not changed.

        Shape:
            images: (B, 3, H, W), uint8.
            params: arrays (B, ...).
            Result: (B, 3, H', W'), uint8.
        """

    def output_size(self, size: Size) -> Size:
        """Height and width of what becomes of images of that size."""
        return size

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Draws for a batch and applies it: all that is needed to use a transform alone.

        Shape:
            images: (B, 3, H, W), uint8.
            Result: (B, 3, H', W'), uint8.
        """
        height, width = images.shape[-2:]
        chosen = rng.random(len(images)) < self.prob
        params = choose(self.draw(rng, len(images), (height, width)), chosen)
        if chosen.all():
            return self.apply(images, params)
        augmented = images.clone()
        if chosen.any():
            places = on_device(np.flatnonzero(chosen), images)
            augmented[places] = self.apply(images[places], params)
        return augmented


def choose(params: Params, which: NDArray[Any] | slice) -> Params:
    """The parameters of some of the images."""
    return {name: values[which] for name, values in params.items()}


def on_device(values: NDArray[Any], images: Tensor) -> Tensor:
    """Parameters where the images are, copied without waiting for a GPU; fractions as float32.

    Shape:
        values: any.
        Result: the same.
    """
    narrow = values.astype(np.float32) if values.dtype == np.float64 else values
    tensor = torch.from_numpy(np.ascontiguousarray(narrow))
    return tensor.pin_memory().to(images.device, non_blocking=True) if images.is_cuda else tensor
