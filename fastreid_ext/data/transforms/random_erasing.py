"""Random erasing."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.transforms.base import BatchTransform, Params, Size, on_device
from fastreid_ext.data.transforms.boxes import as_array, draw_corners, draw_shapes, inside
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["RandomErasing"]

MODES = ("const", "rand", "pixel")


@TRANSFORMS.register(source="Zhong et al. 2020, arXiv:1708.04896")
class RandomErasing(BatchTransform):
    """Fills a random rectangle of normalised images (Zhong et al., AAAI 2020, arXiv:1708.04896).

    The noise of "pixel" comes from a generator of the images' device, seeded for each image: it does not depend on the
    other images, but the CPU's noise is not CUDA's.

    Args:
        prob: probability that an image is erased.
        value: what "const" fills with, one a channel, in the units of the images.
        mode: "const", "rand" (one standard normal colour an image) or "pixel" (standard normal noise).
        area: smallest and largest share of the image.
        ratio: smallest and largest height over width, uniform in its logarithm.

    Raises:
        ValueError: the mode is none of these.
    """

    @configurable
    def __init__(
        self,
        *,
        prob: float = 0.5,
        value: tuple[float, float, float] = (0.0, 0.0, 0.0),
        mode: str = "const",
        area: tuple[float, float] = (0.02, 0.4),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
    ) -> None:
        # All images come to `apply_`, which is called on whole batches: `draw` says which of them are erased.
        super().__init__(prob=1.0)
        if mode not in MODES:
            raise ValueError(f"random erasing fills with {', '.join(MODES)}, not {mode!r} (INPUT.REA.MODE)")
        self.prob_erased, self.value, self.mode = prob, value, mode
        self.area, self.ratio = area, ratio

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `INPUT.REA`, whose VALUE is normalised as `MODEL` says."""
        mean, std = cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
        value = tuple((level - m) / s for level, m, s in zip(cfg.INPUT.REA.VALUE, mean, std, strict=True))
        return {"prob": cfg.INPUT.REA.PROB, "value": value, "mode": cfg.INPUT.REA.MODE}

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        """Rectangles "box" (top, left, height, width; a height of 0 erases nothing), and what fills them: "colour" for
        the mode "rand", "seed" for "pixel".
        """
        largest = (size[0] - 1, size[1] - 1)
        shapes = draw_shapes(rng, count, size, area=self.area, ratio=self.ratio, largest=largest)
        shapes[rng.random(count) >= self.prob_erased] = 0
        params: Params = {"box": np.concatenate([draw_corners(rng, size, shapes), shapes], axis=1)}
        if self.mode == "rand":
            params["colour"] = rng.standard_normal((count, 3))
        elif self.mode == "pixel":
            params["seed"] = rng.integers(2**63 - 1, size=count)
        return params

    def fills(self, params: Params) -> dict[str, Any]:
        """The rectangles for `Picked.place`, which a CPU paints in the pass that normalises; nothing for "pixel"."""
        if self.mode == "pixel":
            return {}
        constant = np.broadcast_to(np.array(self.value), (len(params["box"]), 3))
        return {"boxes": params["box"], "colours": params.get("colour", constant)}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """New images; the input is not changed.

        Shape:
            images: (B, 3, H, W), float.
            params: arrays (B, ...).
            Result: (B, 3, H, W), as the images.
        """
        return self.apply_(images.clone(), params)

    def apply_(self, images: Tensor, params: Params) -> Tensor:
        """The same images, erased where they are.

        Shape:
            images: (B, 3, H, W), float.
            params: arrays (B, ...).
            Result: (B, 3, H, W), as the images.
        """
        if self.mode == "pixel":
            fill_noise_(images, params["box"].tolist(), params["seed"].tolist())
            return images
        if self.mode == "rand":
            colours = on_device(params["colour"], images).to(images.dtype)
        else:
            colours = on_device(np.array([self.value]), images).to(images.dtype).expand(len(images), -1)
        if images.device.type == "cpu":
            fill_slices_(images, params["box"].tolist(), colours)
        else:
            fill_masked_(images, on_device(params["box"], images), colours)
        return images


def fill_slices_(images: Tensor, boxes: list[list[int]], colours: Tensor) -> None:
    """Paints the boxes one by one, which costs least on a CPU: only what is painted is touched."""
    for image, (top, left, height, width), colour in zip(
        as_array(images), boxes, as_array(colours)[..., None, None], strict=True
    ):
        image[:, top : top + height, left : left + width] = colour


def fill_masked_(images: Tensor, boxes: Tensor, colours: Tensor) -> None:
    """Paints the boxes of all images in one pass, which costs least on a GPU."""
    height, width = images.shape[-2:]
    torch.where(inside(boxes, (height, width)), colours[..., None, None], images, out=images)


def fill_noise_(images: Tensor, boxes: list[list[int]], seeds: list[int]) -> None:
    """Fills the boxes with noise, each image's from a seed of its own."""
    generator = torch.Generator(images.device)
    for image, (top, left, height, width), seed in zip(images, boxes, seeds, strict=True):
        generator.manual_seed(seed)
        # Not drawn in place: the numbers would depend on the type and memory format of the images.
        noise = torch.randn((3, height, width), generator=generator, device=images.device)
        image[:, top : top + height, left : left + width] = noise
