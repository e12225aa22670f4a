"""Images in one tensor."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastreid_ext.data.decode import decode_into
from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.image_store.base import ImageStore, Rows
from fastreid_ext.utils.memory import gibibytes

__all__ = ["TensorStore", "check_gpu", "send"]


class TensorStore(ImageStore):
    """Images that lie in one tensor, on the device or in host memory.

    Args:
        paths: of the images.
        data: the images, a row each.
        kind: what holds them: "device", "pinned", "host" or "mmap". "pinned" pins the memory of `data` as long as this
            lives.
        device: where `fetch` puts images.
        unreadable: errors of the images that could not be decoded.

    Shape:
        data: (N, 3, H, W), uint8.

    Raises:
        ValueError: memory is to be pinned without a GPU.
        OSError: the memory cannot be pinned.
    """

    def __init__(
        self,
        paths: Sequence[str],
        data: Tensor,
        *,
        kind: str = "device",
        device: torch.device | str = "cpu",
        unreadable: dict[int, UnreadableImage] | None = None,
    ) -> None:
        super().__init__(paths, (data.shape[2], data.shape[3]), device=device)
        self.data, self.kind = data, kind
        self.unreadable = dict(unreadable or {})
        if kind == "pinned" and data.nbytes:
            _pin(self, data)

    @classmethod
    def decoded(
        cls,
        paths: Sequence[str],
        size: tuple[int, int],
        *,
        kind: str = "device",
        device: torch.device | str = "cpu",
        threads: int = 1,
        progress: bool = True,
        label: str = "images",
    ) -> TensorStore:
        """Decodes the images into fresh memory: of the device, or of the host to be pinned.

        Args:
            paths: of the images.
            size: height and width.
            kind: "device", "pinned", or "host" for memory that is neither.
            device: where `fetch` puts images.
            threads: that decode.
            progress: whether the main process shows a bar.
            label: what bar and log call the images.
        """
        data = torch.empty(len(paths), 3, *size, dtype=torch.uint8, device=device if kind == "device" else "cpu")
        # Memory that cannot be pinned is found out before anything is decoded.
        store = cls(paths, data, kind=kind, device=device)
        store.unreadable = decode_into(data, paths, threads=threads, progress=progress, label=label)
        return store

    @property
    def nbytes(self) -> int:
        return self.data.nbytes

    def fetch(self, indices: Sequence[int]) -> Rows | Tensor:
        if self.device.type == "cpu":
            return Rows(self.data, np.asarray(indices, dtype=np.int64))
        if self.data.device.type != "cpu":
            rows = torch.as_tensor(indices, dtype=torch.long).pin_memory()
            return self.data.index_select(0, rows.to(self.data.device, non_blocking=True))
        if self.kind != "pinned":
            return send([self.data[index] for index in indices], self.size, self.device)
        batch = torch.empty(len(indices), 3, *self.size, dtype=torch.uint8, device=self.device)
        for image, index in zip(batch, indices, strict=True):
            image.copy_(self.data[index], non_blocking=True)
        return batch


def send(images: Sequence[Tensor], size: tuple[int, int], device: torch.device) -> Tensor:
    """One batch on a GPU of images in host memory, by way of a pinned one; nobody waits for the transfer.

    Shape:
        images: (3, H, W) each, uint8.
        Result: (B, 3, H, W).
    """
    # The allocator of pinned memory keeps it for the next batch, and gives it out again only after the transfer.
    staging = torch.empty(len(images), 3, *size, dtype=torch.uint8, pin_memory=True)
    for place, image in zip(staging, images, strict=True):
        place.copy_(image)
    return staging.to(device, non_blocking=True)


def check_gpu(device: torch.device) -> None:
    """Memory can be pinned for a GPU only.

    Raises:
        ValueError: the device is none.
    """
    if device.type != "cuda" or not torch.cuda.is_available():
        raise ValueError(
            f"DATALOADER.STORE pinned is memory for transfers to a GPU, but the device is '{device}': "
            "take auto, device, mmap or stream"
        )


def _pin(owner: TensorStore, data: Tensor) -> None:
    """Pins the tensor's memory where it is: torch's own pinned tensors take up to twice the bytes."""
    check_gpu(owner.device)
    runtime: Any = torch.cuda
    with torch.cuda.device(owner.device):
        code = int(runtime.cudart().cudaHostRegister(data.data_ptr(), data.nbytes, 0))
    if code:
        raise OSError(
            f"{gibibytes(data.nbytes)} of host memory could not be page-locked (CUDA error {code}; see ulimit -l): "
            "take another DATALOADER.STORE"
        )
    # The end of the process frees it anyway, when CUDA may be gone already.
    weakref.finalize(owner, _unpin, data.data_ptr(), owner.device).atexit = False


def _unpin(address: int, device: torch.device) -> None:
    # Transfers may be under way.
    torch.cuda.synchronize(device)
    runtime: Any = torch.cuda
    runtime.cudart().cudaHostUnregister(address)
