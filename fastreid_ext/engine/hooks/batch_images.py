"""What the model sees in training, in TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from fastreid_ext.config import CfgNode
from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.engine.hooks.writers import PeriodicWriter

__all__ = ["BatchImages", "batch_picture"]

_COLUMNS = 8
# In pixels; smaller images are enlarged to it.
_HEIGHT = 128
_CAPTION = 16
_GAP = 4


class BatchImages(Hook):
    """Draws images of a batch, augmented, with their classes: at the start of training and every some epochs.

    Nothing random is drawn, and nothing of the batch is changed: training is the same bit for bit.

    Args:
        writer: whose TensorBoard they are written to.
        model: as the loop calls it.
        count: images, at most.
        period: epochs between pictures; 0 for one at the start only.
        mean: that normalisation has subtracted, of each colour.
        std: that it has divided by.
    """

    def __init__(
        self,
        writer: PeriodicWriter,
        model: nn.Module,
        count: int,
        period: int,
        *,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.writer, self.model, self.count, self.period = writer, model, count, period
        self.mean, self.std = torch.tensor(mean).view(-1, 1, 1), torch.tensor(std).view(-1, 1, 1)

    @classmethod
    def from_config(cls, cfg: CfgNode, writer: PeriodicWriter, model: nn.Module) -> BatchImages:
        """As `TENSORBOARD` says."""
        board, mean, std = cfg.TENSORBOARD, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD
        return cls(writer, model, board.IMAGES, board.IMAGES_PERIOD, mean=mean, std=std)

    def before_step(self) -> None:
        done = self.trainer.iteration
        if done == 0 or (self.period and done % (self.period * self.trainer.iters_per_epoch) == 0):
            # Nobody but the model is given the batch.
            self._handle = self.model.register_forward_pre_hook(self._draw)

    def _draw(self, _: nn.Module, arguments: tuple[Any, ...]) -> None:
        # A step may have several passes.
        self._handle.remove()
        batch = arguments[0]
        images: Tensor = batch["images"][: self.count].detach().float().cpu()
        if batch.get("normalized", False):
            images = images * self.std + self.mean
        picture = batch_picture(images, batch["targets"][: self.count].tolist())
        if self.writer.tensorboard is not None:
            self.writer.tensorboard.add_image("batch", picture, self.trainer.iteration, dataformats="HWC")


def batch_picture(images: Tensor, classes: Sequence[int]) -> NDArray[np.uint8]:
    """Images in rows, with the class of each below it.

    Shape:
        images: (B, 3, h, w), on a scale of 0 to 255.
        Result: (H, W, 3).
    """
    height, width = images.shape[2:]
    scale = max(1, -(-_HEIGHT // height))
    height, width = height * scale, width * scale
    columns = min(_COLUMNS, max(1, len(images)))
    rows = -(-len(images) // columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + _CAPTION + _GAP) + _GAP)
    sheet = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default()
    pixels = images.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
    for place, (image, label) in enumerate(zip(pixels, classes, strict=True)):
        left = _GAP + place % columns * (width + _GAP)
        top = _GAP + place // columns * (height + _CAPTION + _GAP)
        sheet.paste(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST), (left, top))
        pen.text((left, top + height + 2), f"class {label}", fill="black", font=font)
    return np.asarray(sheet)
