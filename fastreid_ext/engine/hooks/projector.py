"""Embeddings of test images, in TensorBoard's projector."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torchvision.transforms.functional import pil_to_tensor

from fastreid_ext.config import CfgNode
from fastreid_ext.data.image import UnreadableImage, read_image
from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.tsne import choose_images
from fastreid_ext.utils.logger import get_logger

__all__ = ["Projector"]

# Images of an identity, about.
_SHOTS = 10
# In pixels: TensorBoard wants squares.
_SIDE = 64
_GREY = 128


class Projector(Hook):
    """Writes embeddings of the first test set after the last epoch, with thumbnails, pids and camids.

    It is to be called with the features of each test set that is evaluated, and keeps those of the last epoch.

    Args:
        folder: to write to; what an earlier run left there goes.
        count: images, at most: about ten of each of the identities that have most.
    """

    def __init__(self, folder: str | Path, count: int) -> None:
        self.folder, self.count = Path(folder), count
        self._features: FeatureSet | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> Projector:
        """As `TENSORBOARD` says, in the folder `projector` of the run."""
        return cls(Path(cfg.OUTPUT_DIR) / "projector", cfg.TENSORBOARD.PROJECTOR_IMAGES)

    def __call__(self, features: FeatureSet) -> None:
        if self._features is None and self.trainer.epoch == self.trainer.max_epochs:
            self._features = replace(features, values=features.values.cpu())

    def after_train(self) -> None:
        if self._features is None:
            return
        try:
            self._write(self._features)
        except (OSError, ValueError) as error:
            # A picture is not worth the results.
            get_logger(__name__).error(f"TENSORBOARD.PROJECTOR: no embeddings written: {error}")
        self._features = None

    def _write(self, features: FeatureSet) -> None:
        kept = choose_images(features, images=self.count, identities=max(2, self.count // _SHOTS))
        rows = [
            [int(features.pids[image]), int(features.camids[image]), Path(features.paths[image]).name]
            for image in kept.tolist()
        ]
        thumbnails = torch.stack([_thumbnail(features.paths[image]) for image in kept.tolist()])
        shutil.rmtree(self.folder, ignore_errors=True)
        with SummaryWriter(str(self.folder)) as writer:
            writer.add_embedding(
                features.values[kept],
                metadata=rows,
                metadata_header=["pid", "camid", "image"],
                label_img=thumbnails,
                global_step=self.trainer.iteration,
                tag=features.name.partition(":")[0],
            )


def _thumbnail(path: str) -> Tensor:
    try:
        image = ImageOps.pad(read_image(path), (_SIDE, _SIDE), Image.Resampling.BICUBIC)
    except UnreadableImage:
        image = Image.new("RGB", (_SIDE, _SIDE), (_GREY, _GREY, _GREY))
    thumbnail: Tensor = pil_to_tensor(image) / 255
    return thumbnail
