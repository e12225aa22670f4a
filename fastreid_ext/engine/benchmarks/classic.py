"""The usual way to load images, which the loader is measured against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from fastreid_ext.config import CfgNode
from fastreid_ext.data.sample import Sample

__all__ = ["ClassicLoader"]


class ClassicLoader:
    """Worker processes that decode every image again with Pillow and augment it with torchvision.

    Args:
        cfg: `INPUT` and `MODEL.PIXEL_MEAN`, `PIXEL_STD`.
        samples: the images.
        batch_size: images a batch.
        num_workers: processes; they stay alive between epochs.
        device: where batches go.
    """

    def __init__(
        self, cfg: CfgNode, samples: Sequence[Sample], *, batch_size: int, num_workers: int, device: str = "cpu"
    ) -> None:
        self.device = torch.device(device)
        self._loader = DataLoader(
            _Images(samples, _transform(cfg)),
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            pin_memory=self.device.type == "cuda",
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The batches of an epoch."""
        for images, pids in self._loader:
            yield {
                "images": images.to(self.device, non_blocking=True),
                "targets": pids.to(self.device, non_blocking=True),
            }


class _Images(Dataset[tuple[Tensor, int]]):
    def __init__(self, samples: Sequence[Sample], transform: transforms.Compose) -> None:
        self.samples, self.transform = samples, transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        sample = self.samples[index]
        with Image.open(sample.path) as image:
            return self.transform(image.convert("RGB")), sample.pid


def _transform(cfg: CfgNode) -> transforms.Compose:
    inputs, size = cfg.INPUT, list(cfg.INPUT.SIZE_TRAIN)
    steps: list[object] = []
    if inputs.AUTOAUG.ENABLED:
        policy = transforms.AutoAugment(transforms.AutoAugmentPolicy.IMAGENET, fill=[128] * 3)
        steps.append(transforms.RandomApply([policy], p=inputs.AUTOAUG.PROB))
    mean, std = ([value / 255 for value in values] for values in (cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD))
    steps += [
        transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.Pad(inputs.PADDING.SIZE),
        transforms.RandomCrop(size),
        transforms.RandomHorizontalFlip(inputs.FLIP.PROB),
        transforms.ToTensor(),
        transforms.Normalize(mean, std),
        transforms.RandomErasing(inputs.REA.PROB, scale=(0.02, 0.4), ratio=(0.3, 1 / 0.3)),
    ]
    return transforms.Compose(steps)
