"""How much memory there is to be had."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

__all__ = ["available_memory", "gibibytes"]


def available_memory(root: Path = Path("/")) -> int:
    """Bytes of host memory that this process may still take: what the machine has or its control group allows.

    Pages of files that the group read and can give back at once do not count as taken.

    Args:
        root: of the file system in which Linux shows control groups.
    """
    return max(0, min([psutil.virtual_memory().available, *_group_limits(root)]))


def gibibytes(count: float) -> str:
    """Bytes for people; what is less than a tenth of a GiB in MiB."""
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"


def _group_limits(root: Path) -> Iterator[int]:
    """What each control group around this process leaves, of version 2 and of version 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            mount = root / "sys/fs/cgroup"
            names = ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            mount = root / "sys/fs/cgroup/memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        group = mount / path.strip("/")
        # In a container the path is often that of the host, and its own group is what is mounted.
        for folder in [group, *group.parents]:
            yield from _left(folder, *names)
            if folder == mount:
                break


def _left(folder: Path, limit: str, used: str, cache: str) -> Iterator[int]:
    try:
        allowed = (folder / limit).read_text().strip()
        taken = int((folder / used).read_text())
        statistics = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return
    if allowed != "max":
        yield int(allowed) - taken + int(statistics.get(cache, 0))
