"""Images in a file that outlives the run and that the processes of a machine share."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from fastreid_ext.data.decode import decode, decode_into
from fastreid_ext.data.image import UnreadableImage
from fastreid_ext.data.image_store.tensor import TensorStore
from fastreid_ext.utils.files import cache_folder
from fastreid_ext.utils.logger import get_logger
from fastreid_ext.utils.memory import gibibytes
from fastreid_ext.utils.threads import local_processes

__all__ = ["StoreFolderError", "default_folder", "map_file", "mapped_store"]

_VERSION = 1
_MAGIC = b"reid-map"
_END = len(_MAGIC) + 8


class StoreFolderError(OSError):
    """The folder of the mapped files is full or cannot be written."""


@dataclass(frozen=True)
class _Meta:
    """What stands behind the pixels; a file whose values differ is made anew."""

    version: int
    count: int
    size: tuple[int, int]
    stamps: str
    unreadable: dict[int, str]

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.count, 3, *self.size

    @property
    def nbytes(self) -> int:
        return 3 * self.count * self.size[0] * self.size[1]


def default_folder() -> Path:
    """Where image stores are, unless the config says where."""
    return cache_folder("images")


def map_file(paths: Sequence[str], size: tuple[int, int], *, label: str, folder: str | os.PathLike[str] = "") -> Path:
    """The file of these images, there or not."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(os.fsencode(os.path.abspath(path)) + b"\0")  # noqa: PTH100  # quick, and leaves links alone
    name = re.sub(r"[^\w.+-]+", "_", label)
    return (
        Path(folder) if folder else default_folder()
    ) / f"{name}-{size[0]}x{size[1]}-{digest.hexdigest()[:16]}.images"


def mapped_store(
    paths: Sequence[str],
    size: tuple[int, int],
    *,
    label: str,
    folder: str | os.PathLike[str] = "",
    part: slice | None = None,
    device: torch.device | str = "cpu",
    threads: int = 1,
    progress: bool = True,
) -> TensorStore:
    """Maps the file of these images, which is made if it is not there or no longer true.

    One process makes it while the others wait; it appears whole or not at all. It is made anew when an image file
    changes its size or time, and when one that could not be read now can.

    Args:
        paths: of the images, one at least.
        size: height and width.
        label: beginning of the file's name, and what the log calls the images.
        folder: of the file; empty for `default_folder`.
        part: the images that are wanted of all those in the file; numbers count within it.
        device: where `fetch` puts images.
        threads: that decode.
        progress: whether the main process shows a bar.

    Raises:
        StoreFolderError: the folder is full or cannot be written.
    """
    file = map_file(paths, size, label=label, folder=folder)
    wanted = _Meta(_VERSION, len(paths), (size[0], size[1]), _stamps(paths), {})
    opened = _open(file, wanted, paths, say_why_not=True)
    if opened is None:
        opened = _make_once(file, wanted, paths, threads=threads, progress=progress, label=label)
    else:
        get_logger(__name__).info(f"{label}: nothing to decode, {file} is there")
    data, unreadable = opened
    numbers = range(len(paths))[part or slice(None)]
    return TensorStore(
        paths[numbers.start : numbers.stop],
        data[numbers.start : numbers.stop],
        kind="mmap",
        device=device,
        unreadable={number - numbers.start: error for number, error in unreadable.items() if number in numbers},
    )


_Opened = tuple[Tensor, dict[int, UnreadableImage]]


def _make_once(file: Path, wanted: _Meta, paths: Sequence[str], *, threads: int, progress: bool, label: str) -> _Opened:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{file}.lock")
        try:
            lock.acquire(blocking=False)
        except Timeout:
            get_logger(__name__).info(f"{label}: waiting for the process that decodes them into {file}")
            lock.acquire()
        try:
            opened = _open(file, wanted, paths)
            if opened is not None:
                get_logger(__name__).info(f"{label}: decoded by another process, {len(opened[1])} unreadable")
                return opened
            made = _make(file, wanted, paths, threads=threads, progress=progress, label=label)
            return _map(file, made), _errors(made, paths)
        finally:
            lock.release()
    # NotImplementedError: a disk on which files cannot be locked.
    except (OSError, NotImplementedError) as error:
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        raise StoreFolderError(
            f"{label}: {gibibytes(wanted.nbytes)} of decoded images cannot be kept in {file.parent} "
            f"({getattr(error, 'strerror', None) or error}); {'make room, ' if full else ''}name another folder in "
            "DATALOADER.STORE_DIR, or choose another DATALOADER.STORE than mmap"
        ) from error


def _make(file: Path, wanted: _Meta, paths: Sequence[str], *, threads: int, progress: bool, label: str) -> _Meta:
    """Writes the file beside its place, which it takes when it is whole; the leftover of a killed process is reused."""
    partial = file.with_name(f"{file.name}.partial")
    try:
        with partial.open("w+b") as stream:
            _reserve(stream, wanted.nbytes)
            pixels = np.memmap(stream, np.uint8, "r+", shape=wanted.shape)
            # The other processes of the machine wait: their cores are free.
            errors = decode_into(
                torch.from_numpy(pixels), paths, threads=threads * local_processes(), progress=progress, label=label
            )
            pixels.flush()
            made = replace(wanted, unreadable={number: error.reason for number, error in errors.items()})
            trailer = json.dumps(vars(made)).encode()
            stream.seek(wanted.nbytes)
            stream.write(trailer + len(trailer).to_bytes(8, "little") + _MAGIC)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return made


def _reserve(stream: BinaryIO, nbytes: int) -> None:
    """Takes the space at once: a disk that fills up below a mapping kills the process."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(stream.fileno(), 0, nbytes)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
    stream.truncate(nbytes)


def _open(file: Path, wanted: _Meta, paths: Sequence[str], *, say_why_not: bool = False) -> _Opened | None:
    """What is in the file, if it is there, whole and true."""
    found = _read_meta(file)
    if found is None:
        reason = "it is damaged"
    elif replace(found, unreadable={}) != wanted:
        reason = "image files have changed"
    # The hiccup of a network disk must not last for ever.
    elif any(_readable(paths[number]) for number in found.unreadable):
        reason = "image files that could not be read now can"
    else:
        return _map(file, found), _errors(found, paths)
    if say_why_not and file.exists():
        get_logger(__name__).info(f"{file} is made anew: {reason}")
    return None


def _read_meta(file: Path) -> _Meta | None:
    try:
        with file.open("rb") as stream:
            length = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, length - _END))
            end = stream.read()
            start = length - _END - int.from_bytes(end[:8], "little")
            if end[8:] != _MAGIC or start < 0:
                return None
            stream.seek(start)
            values = json.loads(stream.read(length - _END - start))
        unreadable = {int(number): str(reason) for number, reason in values.pop("unreadable").items()}
        meta = _Meta(**{**values, "size": tuple(values["size"])}, unreadable=unreadable)
        return meta if meta.nbytes == start else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _map(file: Path, meta: _Meta) -> Tensor:
    pixels = np.memmap(file, np.uint8, "r", shape=meta.shape)
    with warnings.catch_warnings():
        # Torch has no read-only tensors; nobody writes into a store.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(pixels)


def _errors(meta: _Meta, paths: Sequence[str]) -> dict[int, UnreadableImage]:
    return {number: UnreadableImage(paths[number], reason) for number, reason in meta.unreadable.items()}


def _readable(path: str) -> bool:
    try:
        decode(path, (8, 8))
    except UnreadableImage:
        return False
    return True


def _stamps(paths: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116  # hundreds of thousands of them
            digest.update(b"%d %d\n" % (status.st_mtime_ns, status.st_size))
        except OSError:
            digest.update(b"missing\n")
    return digest.hexdigest()
