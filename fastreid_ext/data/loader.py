"""From samples to batches on the model's device."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fastreid_ext.data.image import UnreadableImage, read_image
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import BatchStream
from fastreid_ext.utils.logger import get_logger

__all__ = ["Batch", "TestLoader", "TrainLoader"]

Batch = dict[str, Any]
"""`images` uint8 (B, 3, H, W), `targets` (B,), `camids` (B,), `img_paths` list of B, `unreadable` list of errors."""

Transform = Callable[[Image], Tensor]

_SUBSTITUTES = 100


class TrainLoader:
    """Endless training batches of this process.

    The augmentation of an image follows from its place in the stream alone: neither the number of workers nor that of
    processes changes it. An image that cannot be read is replaced by another one of the same identity and listed in the
    batch's `unreadable`.

    Raises:
        UnreadableImage: nothing could be read in place of an image.

    Attributes:
        unreadable: why, by path, for the images that could not be read so far.

    Args:
        samples: with `pid` numbered from 0.
        transform: image to uint8 tensor, random by torch's generator.
        stream: which samples each batch takes.
        num_workers: processes that decode; 0 decodes in this one.
        device: where batches go.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        transform: Transform,
        stream: BatchStream,
        *,
        num_workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.samples, self.stream, self.device = samples, stream, torch.device(device)
        self.unreadable: dict[str, str] = {}
        self._loader = DataLoader(
            _TrainImages(samples, transform),
            batch_sampler=stream,
            num_workers=num_workers,
            collate_fn=_collate,
            worker_init_fn=_leave_process_group,
            pin_memory=self.device.type == "cuda",
            # The loader's own seeds must not draw from the generator that a resumed run restores.
            generator=torch.Generator().manual_seed(0),
        )

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            for error in batch["unreadable"]:
                self._report(error)
            # Here and not where it is read: DataLoader cannot carry this exception over from a worker.
            if len(batch["images"]) < self.stream.share:
                raise batch["unreadable"][-1]
            yield _to_device(batch, self.device)

    def _report(self, error: UnreadableImage) -> None:
        if error.path not in self.unreadable:
            self.unreadable[error.path] = error.reason
            get_logger(__name__).warning(f"training goes on without an image: {error}")


class TestLoader:
    """Batches of the samples in their order, for feature extraction; unreadable images are left out and listed.

    A batch has `indices` (B,), positions of its images in `samples`, beside the keys of `Batch`.

    Args:
        samples: this process's share.
        transform: image to uint8 tensor.
        batch_size: images a batch.
        num_workers: processes that decode; 0 decodes in this one.
        device: where batches go.
    """

    __test__ = False

    def __init__(
        self,
        samples: Sequence[Sample],
        transform: Transform,
        *,
        batch_size: int = 64,
        num_workers: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.samples, self.device = samples, torch.device(device)
        self._loader = DataLoader(
            _TestImages(samples, transform),
            batch_size=batch_size,
            num_workers=min(num_workers, -(-len(samples) // batch_size)),
            collate_fn=_collate,
            worker_init_fn=_leave_process_group,
            pin_memory=self.device.type == "cuda",
            generator=torch.Generator().manual_seed(0),
        )

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._loader:
            yield _to_device(batch, self.device)


class _TrainImages(Dataset[Batch]):
    def __init__(self, samples: Sequence[Sample], transform: Transform) -> None:
        self.samples, self.transform = samples, transform
        self._of_pid: dict[int, list[int]] = {}
        for index, sample in enumerate(samples):
            self._of_pid.setdefault(sample.pid, []).append(index)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        index, draw_seed = key
        unreadable = []
        for candidate in self._candidates(index):
            try:
                image = read_image(self.samples[candidate].path)
            except UnreadableImage as error:
                unreadable.append(error)
                continue
            with torch.random.fork_rng(devices=[]):
                # torch.manual_seed would seed the GPU's generator, too, which nothing puts back.
                torch.default_generator.manual_seed(draw_seed)
                return _item(candidate, self.samples[candidate], self.transform(image), unreadable)
        return _item(index, self.samples[index], None, unreadable)

    def _candidates(self, index: int) -> Iterator[int]:
        """The image itself, the other images of its identity, then its neighbours."""
        yield index
        same = self._of_pid[self.samples[index].pid]
        start = same.index(index)
        yield from same[start + 1 :] + same[:start]
        yield from ((index + offset) % len(self.samples) for offset in range(1, _SUBSTITUTES))


class _TestImages(Dataset[Batch]):
    def __init__(self, samples: Sequence[Sample], transform: Transform) -> None:
        self.samples, self.transform = samples, transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Batch:
        sample = self.samples[index]
        try:
            return _item(index, sample, self.transform(read_image(sample.path)), [])
        except UnreadableImage as error:
            return _item(index, sample, None, [error])


def _item(index: int, sample: Sample, image: Tensor | None, unreadable: list[UnreadableImage]) -> Batch:
    return {"index": index, "sample": sample, "image": image, "unreadable": unreadable}


def _collate(items: list[Batch]) -> Batch:
    readable = [item for item in items if item["image"] is not None]
    no_images = torch.empty(0, 3, 0, 0, dtype=torch.uint8)
    return {
        "images": torch.stack([item["image"] for item in readable]) if readable else no_images,
        "targets": torch.tensor([item["sample"].pid for item in readable], dtype=torch.long),
        "camids": torch.tensor([item["sample"].camid for item in readable], dtype=torch.long),
        "indices": torch.tensor([item["index"] for item in readable], dtype=torch.long),
        "img_paths": [item["sample"].path for item in readable],
        "unreadable": [error for item in items for error in item["unreadable"]],
    }


def _to_device(batch: Batch, device: torch.device) -> Batch:
    return {
        key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value for key, value in batch.items()
    }


def _leave_process_group(worker: int) -> None:
    """Ctrl-C and signals to the whole group are for the training process, which saves and then ends its workers."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()
