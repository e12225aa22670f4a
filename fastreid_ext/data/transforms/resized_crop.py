"""Random resized crop."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.transforms.base import BatchTransform, Params, Size, on_device
from fastreid_ext.data.transforms.boxes import draw_corners, draw_shapes
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["RandomResizedCrop"]


@TRANSFORMS.register(source="Szegedy et al. 2015, arXiv:1409.4842")
class RandomResizedCrop(BatchTransform):
    """A random part of the image, resized with an antialiased bicubic filter (Szegedy et al., CVPR 2015).

    Args:
        size: height and width of the result.
        scale: smallest and largest share of the image.
        ratio: smallest and largest width over height, uniform in its logarithm.
    """

    @configurable
    def __init__(
        self,
        *,
        size: Size,
        scale: tuple[float, float] = (0.16, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        super().__init__()
        self.size, self.scale, self.ratio = size, scale, ratio

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `INPUT.CROP`."""
        crop = cfg.INPUT.CROP
        return {"size": tuple(crop.SIZE), "scale": tuple(crop.SCALE), "ratio": tuple(crop.RATIO)}

    def output_size(self, size: Size) -> Size:
        return self.size

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        """The parts, "box": top, left, height, width. Where none of ten fits, the middle as far as the ratios allow."""
        ratio = (1 / self.ratio[1], 1 / self.ratio[0])
        shapes = draw_shapes(rng, count, size, area=self.scale, ratio=ratio, largest=size)
        corners = draw_corners(rng, size, shapes)
        found = shapes[:, :1] > 0
        middle = self._middle(size)
        shapes = np.where(found, shapes, middle)
        corners = np.where(found, corners, (np.array(size) - middle) // 2)
        return {"box": np.concatenate([corners, shapes], axis=1)}

    def _middle(self, size: Size) -> Size:
        """Height and width of the largest part whose ratio is allowed."""
        height, width = size
        narrowest, widest = self.ratio
        if width < narrowest * height:
            return max(1, round(width / narrowest)), width
        return height, max(1, min(width, round(widest * height)))

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """New images; the input is not changed.

        Shape:
            images: (B, 3, H, W), uint8.
            params: arrays (B, ...).
            Result: (B, 3, H', W'), uint8.
        """
        is_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
        memory_format = torch.channels_last if is_last else torch.contiguous_format
        if images.device.type == "cpu":
            shape = (*images.shape[:2], *self.size)
            resized = torch.empty(shape, dtype=images.dtype, memory_format=memory_format)
            crop_slices(images, params["box"].tolist(), resized)
            return resized
        resized = crop_products(images, on_device(params["box"], images), self.size)
        return resized.contiguous(memory_format=memory_format)


def crop_slices(images: Tensor, boxes: list[list[int]], resized: Tensor) -> None:
    """Resizes the parts one by one into `resized`; on a CPU ten times as fast as products.

    Shape:
        images: (B, 3, H, W), uint8.
        boxes: B of top, left, height, width.
        resized: (B, 3, H', W'), uint8.
    """
    for i, (top, left, height, width) in enumerate(boxes):
        part = images[i : i + 1, :, top : top + height, left : left + width]
        resized[i] = interpolate(part, resized.shape[-2:], mode="bicubic", antialias=True)[0]


def crop_products(images: Tensor, boxes: Tensor, size: Size) -> Tensor:
    """Resizes the parts of all images by two matrix products an image, without a loop over them.

    In float64: GPUs may be told to multiply float32 with fewer digits.

    Columns come first and are rounded, as on the CPU: less than one pixel in ten thousand differs by 2 levels, none by
    more.

    Shape:
        images: (B, 3, H, W), uint8.
        boxes: (B, 4), top, left, height, width.
        size: height and width of the result.
        Result: (B, 3, *size), uint8.
    """
    height, width = images.shape[-2:]
    rows = resampling_weights(boxes[:, ::2], height, size[0])
    columns = resampling_weights(boxes[:, 1::2], width, size[1])
    narrow = torch.matmul(images.double(), columns.transpose(1, 2)[:, None]).round_().clamp_(0, 255)
    return torch.matmul(rows[:, None], narrow).round_().clamp_(0, 255).to(torch.uint8)


def resampling_weights(spans: Tensor, length: int, size: int) -> Tensor:
    """How much each line of an image counts in each line of its resized part.

    The cubic filter is Keys' of 1981 with a = -0.5, widened by the factor of the reduction, as in Pillow.

    Shape:
        spans: (B, 2), first line and number of lines of the part.
        length: number of lines of the image.
        size: number of lines of the result.
        Result: (B, size, length), float64; rows sum up to one.
    """
    start, number = spans.double()[:, :, None, None].unbind(1)
    scale = number / size
    centres = (torch.arange(size, device=spans.device)[:, None] + 0.5) * scale
    lines = torch.arange(length, device=spans.device) - start
    distance = ((lines + 0.5 - centres) / scale.clamp(min=1)).abs()
    weights = cubic(distance) * ((lines >= 0) & (lines < number))
    return weights / weights.sum(dim=-1, keepdim=True)


def cubic(distance: Tensor, a: float = -0.5) -> Tensor:
    """Keys' cubic convolution of a distance from 0 on; zero from 2 on.

    Shape:
        distance: any.
        Result: the same.
    """
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = a * (((distance - 5) * distance + 8) * distance - 4)
    return torch.where(distance < 1, near, torch.where(distance < 2, far, torch.zeros_like(far)))
