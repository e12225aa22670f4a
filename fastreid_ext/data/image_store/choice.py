"""Where decoded images go."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from fastreid_ext.utils.memory import available_memory, gibibytes

__all__ = ["bytes_needed", "choose_kind"]

_DISK_LEFT = 2**30


def bytes_needed(count: int, size: tuple[int, int]) -> int:
    """Bytes of so many RGB images of a height and width."""
    return 3 * count * size[0] * size[1]


def choose_kind(
    needed: int,
    *,
    device: torch.device | str,
    processes: int,
    folder: str | os.PathLike[str],
    file_bytes: int | None = None,
) -> tuple[str, str]:
    """The first kind of store that has room, and why, in words.

    On a GPU: its memory, if that leaves half of what is free; pinned host memory, if all processes together leave half
    of what is free; a mapped file, if the disk keeps a GiB; else streaming. On a CPU: memory for a process that is
    alone on its machine; a mapped file, which several processes share; memory for each of several; else streaming.

    Args:
        needed: bytes of this process's images.
        device: the model's.
        processes: of the run on this machine.
        folder: of mapped files.
        file_bytes: that a mapped file, which has the images of all processes, would take; 0 where it is there already.
    """
    device = torch.device(device)
    file_bytes = needed if file_bytes is None else file_bytes
    host, disk = available_memory(), _free_disk(folder)
    on_host = f"{gibibytes(host)} of host memory" + (f" for {processes} processes" if processes > 1 else "")
    in_memory = needed * processes <= host / 2
    on_disk = file_bytes == 0 or file_bytes + _DISK_LEFT <= disk
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
        if needed <= free / 2:
            return "device", f"{gibibytes(free)} free there"
        too_much = f"more than half of {gibibytes(free)} free on the GPU"
        if in_memory:
            return "pinned", f"{too_much}; {on_host} free"
        too_much += f" and of {on_host}"
    else:
        if in_memory and (processes == 1 or not on_disk):
            return "device", f"{on_host} free"
        too_much = "shared by the processes" if in_memory else f"more than half of {on_host} free"
    if on_disk:
        return "mmap", f"{too_much}; {gibibytes(disk)} free on the disk"
    return "stream", f"{too_much}, and not enough room on the disk: {gibibytes(disk)} free in {folder}"


def _free_disk(folder: str | os.PathLike[str]) -> int:
    """Bytes free where the folder is or would be; none where that cannot be found out."""
    place = Path(folder).absolute()
    for existing in (place, *place.parents):
        try:
            return shutil.disk_usage(existing).free
        except FileNotFoundError:
            continue
        except OSError:
            return 0
    return 0
