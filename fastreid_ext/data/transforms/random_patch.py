"""Random patch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.transforms.base import BatchTransform, Params, Size, on_device
from fastreid_ext.data.transforms.boxes import as_array, draw_corners, draw_shapes, inside
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["RandomPatch"]


@TRANSFORMS.register(source="Zhou et al. 2019, arXiv:1905.00953")
class RandomPatch(BatchTransform):
    """Pastes a part of another image at a random place, as OSNet does (Zhou et al., ICCV 2019, arXiv:1905.00953).

    The other image is one of the same batch, as it was before anything was pasted. FastReID keeps a pool of up to
    50,000 patches of earlier images in each worker and begins when it holds 100; without the pool there is no state,
    so a resumed run pastes the same patches, and the first batches have them too. Which images are at hand matters: a
    part of a batch takes its patches from that part. An image that is alone gets a patch of its own.

    Args:
        prob: probability that an image gets a patch.
        area: smallest and largest share of the image.
        ratio: smallest and largest height over width.
        prob_rotate: probability that the patch is turned upside down.
        prob_flip: probability that the patch is mirrored.
    """

    @configurable
    def __init__(
        self,
        *,
        prob: float = 0.5,
        area: tuple[float, float] = (0.01, 0.5),
        ratio: tuple[float, float] = (0.1, 10.0),
        prob_rotate: float = 0.5,
        prob_flip: float = 0.5,
    ) -> None:
        # All images come to `apply`: those without a patch may be donors, and `draw` says which of them get one.
        super().__init__(prob=1.0)
        self.prob_patched, self.area, self.ratio = prob, area, ratio
        self.prob_rotate, self.prob_flip = prob_rotate, prob_flip

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `INPUT.RPT`."""
        return {"prob": cfg.INPUT.RPT.PROB}

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        """From which "donor" an image gets a patch, where from ("source": top, left), where to ("box": top, left,
        height, width; a height of 0 pastes nothing), whether it is "rotated" (upside down) and "flipped" (mirrored).
        """
        largest = (size[0] - 1, size[1] - 1)
        shapes = draw_shapes(rng, count, size, area=self.area, ratio=self.ratio, largest=largest, log_ratio=False)
        shapes[rng.random(count) >= self.prob_patched] = 0
        return {
            "donor": rng.integers(2**62, size=count),
            "source": draw_corners(rng, size, shapes),
            "box": np.concatenate([draw_corners(rng, size, shapes), shapes], axis=1),
            "rotated": rng.random(count) < self.prob_rotate,
            "flipped": rng.random(count) < self.prob_flip,
        }

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """New images; the input is not changed.

        Shape:
            images: (B, 3, H, W), float or uint8.
            params: arrays (B, ...).
            Result: (B, 3, H, W), as the images.
        """
        return self.apply_(images.clone(), params)

    def apply_(self, images: Tensor, params: Params) -> Tensor:
        """The same images, with the patches pasted into them.

        Shape:
            images: (B, 3, H, W), float or uint8.
            params: arrays (B, ...).
            Result: (B, 3, H, W), as the images.
        """
        if images.device.type == "cpu":
            paste_slices_(images, params)
        else:
            paste_mapped_(images, params)
        return images


def donors(drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the image that each takes its patch from: another one, if there is one.

    Shape:
        drawn: (B,), any numbers from 0 on.
        Result: (B,).
    """
    count = len(drawn)
    others = max(count - 1, 1)
    return np.asarray((np.arange(count) + 1 + drawn % others) % max(count, 1), dtype=np.int64)


def paste_slices_(images: Tensor, params: Params) -> None:
    """Copies patch by patch, which costs least on a CPU: only what is pasted is touched."""
    pixels = as_array(images)
    receivers = np.flatnonzero(params["box"][:, 2]).tolist()
    givers = donors(params["donor"]).tolist()
    sources, boxes = params["source"].tolist(), params["box"].tolist()
    row_steps, column_steps = (np.where(params[name], -1, 1).tolist() for name in ("rotated", "flipped"))
    patches = []
    # All are copied before the first is pasted: a donor may get a patch itself.
    for i in receivers:
        (top, left), (_, _, height, width) = sources[i], boxes[i]
        patch = pixels[givers[i], :, top : top + height, left : left + width]
        patches.append(patch[:, :: row_steps[i], :: column_steps[i]].copy())
    for i, patch in zip(receivers, patches, strict=True):
        top, left, height, width = boxes[i]
        pixels[i, :, top : top + height, left : left + width] = patch


def paste_mapped_(images: Tensor, params: Params) -> None:
    """Computes for each pixel of all images where it comes from, which costs least on a GPU."""
    height, width = images.shape[-2:]
    boxes = on_device(params["box"], images)
    corners = on_device(params["source"], images)
    rows = source_lines(boxes[:, ::2], corners[:, 0], on_device(params["rotated"], images), height)
    columns = source_lines(boxes[:, 1::2], corners[:, 1], on_device(params["flipped"], images), width)
    givers = on_device(donors(params["donor"]), images)[:, None, None, None]
    channels = torch.arange(images.shape[1], device=images.device)[:, None, None]
    pasted = images[givers, channels, rows[:, None, :, None], columns[:, None, None, :]]
    torch.where(inside(boxes, (height, width)), pasted, images, out=images)


def source_lines(spans: Tensor, starts: Tensor, reverse: Tensor, length: int) -> Tensor:
    """For each row (or column) the one of the donor that goes there; outside the patch, any.

    Shape:
        spans: (B, 2), first row and number of rows of the patch.
        starts: (B,), its first row in the donor.
        reverse: (B,), bool: the last row comes first.
        length: number of rows of the image.
        Result: (B, length).
    """
    first, number = spans.unbind(1)
    lines = torch.arange(length, device=spans.device) - first[:, None]
    lines = torch.where(reverse[:, None], number[:, None] - 1 - lines, lines)
    return (starts[:, None] + lines).clamp(0, length - 1)
