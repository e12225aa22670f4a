"""Random brightness, contrast, saturation and hue."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.transforms import color
from fastreid_ext.data.transforms.base import Params, Size
from fastreid_ext.data.transforms.chunked import ChunkedTransform
from fastreid_ext.data.transforms.operations import apply_each, on_device_values
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["ColorJitter"]

_OPERATIONS = tuple(map(on_device_values, (color.brightness, color.contrast, color.saturation, color.hue)))


@TRANSFORMS.register()
class ColorJitter(ChunkedTransform):
    """Random brightness, contrast, saturation and hue, in a random order for every image.

    FastReID jitters the same values by Pillow, which rounds a little differently.

    Args:
        brightness: factors are drawn from 1 - brightness to 1 + brightness, not below 0.
        contrast: the same for the contrast.
        saturation: the same for the saturation.
        hue: parts of a turn of the colour circle, at most 0.5, to either side.
        prob: probability that an image is changed at all.

    Raises:
        ValueError: a width below 0, or a hue above 0.5.
    """

    @configurable
    def __init__(
        self,
        *,
        brightness: float = 0.15,
        contrast: float = 0.15,
        saturation: float = 0.1,
        hue: float = 0.1,
        prob: float = 0.5,
    ) -> None:
        super().__init__(prob=prob)
        if min(brightness, contrast, saturation, hue) < 0 or hue > 0.5:
            raise ValueError(
                f"colour jitter of {brightness}, {contrast}, {saturation} and hue {hue}: "
                f"none may be below 0, and the hue at most 0.5"
            )
        widths = np.array([brightness, contrast, saturation])
        self.low, self.high = np.append(np.maximum(1 - widths, 0), -hue), np.append(1 + widths, hue)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `INPUT.CJ`."""
        node = cfg.INPUT.CJ
        return {
            "brightness": node.BRIGHTNESS,
            "contrast": node.CONTRAST,
            "saturation": node.SATURATION,
            "hue": node.HUE,
            "prob": node.PROB,
        }

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        """`value` (B, 4) of brightness, contrast, saturation and hue, and `order` (B, 4), in which they follow."""
        order = rng.permuted(np.tile(np.arange(4), (count, 1)), axis=1)
        return {"order": order, "value": rng.uniform(self.low, self.high, (count, 4))}

    def apply_chunk(self, images: Tensor, params: Params) -> Tensor:
        levels = images.float()
        orders, values = params["order"], params["value"]
        idle = self.low == self.high
        for codes in orders.T:
            chosen = np.where(idle[codes], -1, codes)
            levels = apply_each(levels, chosen, values[np.arange(len(codes)), codes], _OPERATIONS)
        return levels.to(torch.uint8)
