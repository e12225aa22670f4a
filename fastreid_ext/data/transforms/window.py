"""Pad, crop and flip in one copy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.data.transforms.base import BatchTransform, Params, Size, on_device
from fastreid_ext.data.transforms.kernels import CONSTANT, EDGE, REFLECT, SYMMETRIC
from fastreid_ext.data.transforms.picked import Picked
from fastreid_ext.data.transforms.registry import TRANSFORMS

__all__ = ["PadCropFlip"]

_MODES = {"constant": CONSTANT, "edge": EDGE, "reflect": REFLECT, "symmetric": SYMMETRIC}


@TRANSFORMS.register(source="FastReID: He et al. 2020, arXiv:2006.02631")
class PadCropFlip(BatchTransform):
    """A window of the image's size at a random place of the padded image, mirrored at random.

    Padding and mirroring cost nothing beside the copy: no padded image is ever made.

    Args:
        padding: pixels on each side; 0 leaves the window where it is.
        mode: of the padding, as torchvision names it: "constant" (black), "edge", "reflect" or "symmetric".
        flip_prob: probability of the mirror image.
    """

    @configurable
    def __init__(self, *, padding: int = 10, mode: str = "constant", flip_prob: float = 0.5) -> None:
        super().__init__()
        if mode not in _MODES:
            raise ValueError(f"padding mode {mode!r}: there are {', '.join(_MODES)}")
        self.padding, self.mode, self.flip_prob = padding, mode, flip_prob

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `INPUT.PADDING` and `INPUT.FLIP`."""
        pad, flip = cfg.INPUT.PADDING, cfg.INPUT.FLIP
        return {
            "padding": pad.SIZE if pad.ENABLED else 0,
            "mode": pad.MODE,
            "flip_prob": flip.PROB if flip.ENABLED else 0.0,
        }

    def draw(self, rng: np.random.Generator, count: int, size: Size) -> Params:
        """`top` and `left` of the window in the padded image, and `flip`.

        Raises:
            ValueError: the image is too small to be mirrored into its borders.
        """
        limit = {"reflect": min(size) - 1, "symmetric": min(size)}.get(self.mode)
        if limit is not None and self.padding > limit:
            raise ValueError(
                f"INPUT.PADDING.SIZE {self.padding} with MODE {self.mode!r} must be at most {limit} for images of "
                f"{size[0]}x{size[1]}"
            )
        places = rng.integers(0, 2 * self.padding + 1, (2, count))
        return {"top": places[0], "left": places[1], "flip": rng.random(count) < self.flip_prob}

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """The windows.

        Shape:
            images: (B, 3, H, W), uint8.
            Result: (B, 3, H, W), uint8.
        """
        if images.is_cuda:
            return self.gather(images, params)
        return Picked(images).place(torch.empty_like(images.contiguous()), **self.placing(params))

    def placing(self, params: Params) -> dict[str, Any]:
        """The same for `Picked.place`, which a CPU does in the pass that normalises."""
        shifts = np.stack((params["top"], params["left"]), axis=1) - self.padding
        return {"shifts": shifts, "flips": params["flip"], "mode": _MODES[self.mode]}

    def gather(self, images: Tensor, params: Params) -> Tensor:
        """The windows by index, without a loop over the images: what a GPU does.

        Shape:
            images: (B, 3, H, W).
            Result: (B, 3, H, W).
        """
        count, channels, height, width = images.shape
        device = images.device
        row, column = torch.arange(height, device=device), torch.arange(width, device=device)
        top, left, flip = (on_device(params[name], images)[:, None] for name in ("top", "left", "flip"))
        rows = row + top - self.padding
        columns = torch.where(flip, width - 1 - column, column) + left - self.padding
        from_rows, from_columns = self._reflected(rows, height), self._reflected(columns, width)
        windows = images[
            torch.arange(count, device=device).view(-1, 1, 1, 1),
            torch.arange(channels, device=device).view(1, -1, 1, 1),
            from_rows[:, None, :, None],
            from_columns[:, None, None, :],
        ]
        if self.mode == "constant" and self.padding:
            inside = (rows == from_rows)[:, None, :, None] & (columns == from_columns)[:, None, None, :]
            windows = windows.masked_fill_(~inside, 0)
        return windows

    def _reflected(self, places: Tensor, length: int) -> Tensor:
        """Which pixel stands at a place outside of the image."""
        if self.mode == "reflect":
            return length - 1 - (length - 1 - places.abs()).abs()
        if self.mode == "symmetric":
            places = torch.where(places < 0, -1 - places, places)
            return torch.where(places >= length, 2 * length - 1 - places, places)
        return places.clamp(0, length - 1)
