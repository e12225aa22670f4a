"""The image stores of a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from fastreid_ext.config import CfgNode
from fastreid_ext.data.image_store.base import ImageStore
from fastreid_ext.data.image_store.choice import bytes_needed, choose_kind
from fastreid_ext.data.image_store.mapped import StoreFolderError, default_folder, map_file, mapped_store
from fastreid_ext.data.image_store.streaming import StreamingStore
from fastreid_ext.data.image_store.tensor import TensorStore, check_gpu
from fastreid_ext.utils.device import with_index
from fastreid_ext.utils.logger import get_logger
from fastreid_ext.utils.memory import gibibytes
from fastreid_ext.utils.threads import default_threads, local_processes

__all__ = ["ImageStores"]

_KINDS = ("auto", "device", "pinned", "mmap", "stream")


class ImageStores:
    """Makes image stores and remembers them: who asks again for the same images gets them without decoding.

    Args:
        kind: "device" memory, "pinned" host memory for a GPU, "mmap" for a file that outlives the run, "stream" for
            nothing; "auto" takes the first that has room.
        folder: of mapped files; empty for the user's cache folder.
        device: where batches go.
        threads: that decode in this process; 0 for its share of the cores.
        progress: whether the main process shows bars.

    Raises:
        ValueError: there is no such kind.
    """

    def __init__(
        self,
        kind: str = "auto",
        *,
        folder: str = "",
        device: torch.device | str = "cpu",
        threads: int = 0,
        progress: bool = True,
    ) -> None:
        if kind not in _KINDS:
            raise ValueError(f"DATALOADER.STORE '{kind}' is none of {', '.join(_KINDS)}")
        self.kind, self.device, self.progress = kind, with_index(device), progress
        if kind == "pinned":
            check_gpu(self.device)
        self.folder = Path(folder).expanduser() if folder else default_folder()
        self.threads = threads or default_threads()
        self._stores: dict[tuple[str, tuple[int, int], int, int], ImageStore] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode, device: torch.device | str) -> ImageStores:
        """As `DATALOADER.STORE`, `STORE_DIR` and `NUM_WORKERS` ask."""
        loader = cfg.DATALOADER
        return cls(loader.STORE, folder=loader.STORE_DIR, device=device, threads=loader.NUM_WORKERS)

    def get(self, paths: Sequence[str], size: tuple[int, int], *, label: str, part: slice | None = None) -> ImageStore:
        """The store of these images, decoded when it is asked for the first time.

        Args:
            paths: of the images.
            size: height and width.
            label: what the log calls them.
            part: the consecutive images that this process needs; the store's numbers count within it. A mapped file has
                all of them.

        Raises:
            StoreFolderError: the folder of mapped files is full or cannot be written.
        """
        size = (size[0], size[1])
        numbers = range(len(paths))[part or slice(None)]
        digest = hashlib.sha256("\0".join(paths).encode(errors="surrogateescape")).hexdigest()
        key = (digest, size, numbers.start, numbers.stop)
        if key not in self._stores:
            self._stores[key] = self._make(paths, size, label, slice(numbers.start, numbers.stop))
        return self._stores[key]

    def _make(self, paths: Sequence[str], size: tuple[int, int], label: str, part: slice) -> ImageStore:
        kind, reason = self._choose(paths, size, label, part)
        count = len(paths) if kind == "mmap" else len(paths[part])
        where = {
            "device": "in the memory of the GPU" if self.device.type == "cuda" else "in host memory",
            "pinned": "in pinned host memory",
            "mmap": f"in a mapped file in {self.folder}",
            "stream": "decoded again for every batch",
        }[kind]
        needed = gibibytes(bytes_needed(count, size))
        get_logger(__name__).info(f"{label}: {count:,} images of {size[0]}x{size[1]}, {needed}, {where}: {reason}")
        if kind == "mmap":
            try:
                return self._mapped(paths, size, label, part)
            except StoreFolderError as error:
                if self.kind != "auto":
                    raise
                get_logger(__name__).warning(f"{error}; going on without: images are decoded again for every batch")
                kind = "stream"
        if kind == "stream":
            return StreamingStore(paths[part], size, device=self.device, threads=self.threads)
        return self._in_memory(paths[part], size, label, kind)

    def _in_memory(self, paths: Sequence[str], size: tuple[int, int], label: str, kind: str) -> ImageStore:
        decode = partial(
            TensorStore.decoded,
            paths,
            size,
            device=self.device,
            threads=self.threads,
            progress=self.progress,
            label=label,
        )
        try:
            return decode(kind=kind)
        except OSError as error:
            if kind != "pinned" or self.kind != "auto":
                raise
            get_logger(__name__).warning(f"{error}; going on without: each batch is pinned by itself")
            return decode(kind="host")

    def _mapped(self, paths: Sequence[str], size: tuple[int, int], label: str, part: slice) -> ImageStore:
        return mapped_store(
            paths,
            size,
            label=label,
            folder=self.folder,
            part=part,
            device=self.device,
            threads=self.threads,
            progress=self.progress,
        )

    def _choose(self, paths: Sequence[str], size: tuple[int, int], label: str, part: slice) -> tuple[str, str]:
        if not paths:
            return "device", "nothing to keep"
        if self.kind != "auto":
            return self.kind, "as DATALOADER.STORE asks"
        made = os.path.exists(map_file(paths, size, label=label, folder=self.folder))  # noqa: PTH110
        if made and self.device.type == "cpu":
            return "mmap", "decoded by an earlier run"
        return choose_kind(
            bytes_needed(len(paths[part]), size),
            device=self.device,
            processes=local_processes(),
            folder=self.folder,
            file_bytes=0 if made else bytes_needed(len(paths), size),
        )
