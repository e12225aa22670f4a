"""What meta-architectures have in common: images in, losses or embeddings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode

__all__ = ["ReIDModel", "image_arguments"]


class ReIDModel(nn.Module):
    """Normalises images and passes them through its parts and, in training, losses.

    Args:
        parts: the modules of the model, by attribute name.
        criterion: (what `outputs` gives, pids) -> dict of scalar losses; needed in training only.
        pixel_mean: of each colour, on the scale of the images.
        pixel_std: of each colour, on the scale of the images.
        channels_last: lays weights and images out channels last.

    Attributes:
        training_only: parts that are not needed to embed images.
        memories: parts that remember images of a training. Another training does not take them over, and distributed
            training need not send them around: they are the same on all ranks.
        map_parts: parts that make the maps which heads take.
    """

    training_only: ClassVar[tuple[str, ...]] = ("criterion",)
    memories: ClassVar[tuple[str, ...]] = ()
    map_parts: ClassVar[tuple[str, ...]] = ("backbone",)

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        *,
        parts: Mapping[str, nn.Module],
        criterion: nn.Module | None = None,
        pixel_mean: Sequence[float] = (0.0, 0.0, 0.0),
        pixel_std: Sequence[float] = (1.0, 1.0, 1.0),
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self.criterion = criterion
        self.register_buffer("pixel_mean", _per_channel(pixel_mean), persistent=False)
        self.register_buffer("pixel_std", _per_channel(pixel_std), persistent=False)
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings in evaluation.

        Shape:
            images: (B, 3, H, W), normalised.
            Result: (B, D).
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it embeds images")

    def outputs(self, images: Tensor, pids: Tensor) -> dict[str, Any]:
        """What the criterion takes in training.

        Shape:
            images: (B, 3, H, W), normalised. pids: (B,).
        """
        raise NotImplementedError(f"{type(self).__name__} does not say what its losses take")

    def more_losses(self, outputs: Mapping[str, Any], pids: Tensor) -> dict[str, Tensor]:
        """Losses of the model itself, beside the criterion's; none by default.

        Shape:
            pids: (B,).
            Results: scalars.
        """
        return {}

    def after_step(self, progress: float) -> None:
        """Whatever follows the weights beside the optimizer; to be called after each of its steps.

        Args:
            progress: the share of the training that is done, from 0 to 1.
        """

    def forward(self, batch: Mapping[str, Any] | Tensor) -> dict[str, Tensor] | Tensor:
        """Losses by name in training, embeddings in evaluation.

        Shape:
            batch: a dict with `images` (B, 3, H, W) and in training `targets` (B,); in evaluation also the images
            alone. Images are bytes or floats on the scale of `pixel_mean`, unless the batch says `normalized`.
            Result: in training scalars, in evaluation (B, D).

        Raises:
            ValueError: in training, a batch without targets or a model without a criterion.
        """
        images = self.preprocess(batch)
        if not self.training:
            return self.embed(images)
        if isinstance(batch, Tensor) or "targets" not in batch:
            raise ValueError("training needs a batch with 'images' and 'targets'; call eval() to embed images")
        if self.criterion is None:
            raise ValueError("training needs losses: give the model a criterion")
        pids = batch["targets"].to(self.pixel_mean.device)
        outputs = self.outputs(images, pids)
        return {**self.criterion(outputs, pids), **self.more_losses(outputs, pids)}

    def preprocess(self, batch: Mapping[str, Any] | Tensor) -> Tensor:
        """The batch's images, normalised here if the loader has not done so.

        Shape:
            batch: as `forward` takes it.
            Result: (B, 3, H, W).
        """
        if isinstance(batch, Tensor):
            return self.normalize(batch)
        images: Tensor = batch["images"]
        if not batch.get("normalized", False):
            return self.normalize(images)
        return images.to(self.pixel_mean).contiguous(memory_format=self.memory_format)

    def normalize(self, images: Tensor) -> Tensor:
        """New images of mean 0 and standard deviation 1, in the type and on the device of the weights.

        Shape:
            images: (B, 3, H, W).
            Result: (B, 3, H, W).
        """
        normalized = (images.to(self.pixel_mean) - self.pixel_mean) * self.pixel_std.reciprocal()
        return normalized.contiguous(memory_format=self.memory_format)


def image_arguments(cfg: CfgNode) -> dict[str, Any]:
    """What a `ReIDModel` is told about its images, from `MODEL`."""
    return {
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
        "channels_last": cfg.MODEL.CHANNELS_LAST,
    }


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.get_default_dtype()).view(1, -1, 1, 1)
