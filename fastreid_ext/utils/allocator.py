"""What happens to freed host memory."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_RETURN_ABOVE = 2**31 - 1
# Bytes; older versions refuse more than the second.
_KEEP_BELOW = (2**30, 2**25)


def keep_freed_memory() -> bool:
    """Lets this process keep freed host memory for what it allocates next, where the C library is glibc.

    Otherwise the memory of every large tensor goes back to the operating system when it is freed, and the next one
    waits until new pages are cleared: a training step of a network with large maps can take three times as long. The
    process then stays as large as it once was.

    Returns:
        Whether the C library does so. Before version 2.35 glibc keeps pieces of up to 32 MiB only.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    kept = any(mallopt(_MMAP_THRESHOLD, size) for size in _KEEP_BELOW)
    return bool(mallopt(_TRIM_THRESHOLD, _RETURN_ABOVE)) and kept
