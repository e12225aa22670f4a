"""What happens to freed host memory."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Of glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_KEEP_BELOW, _RETURN_ABOVE = 2**30, 2**31 - 1


def keep_freed_memory() -> bool:
    """Lets this process keep freed host memory for what it allocates next, where the C library is glibc.

    Otherwise the memory of every large tensor goes back to the operating system when it is freed, and the next one
    waits until new pages are cleared: a training step of a network with large maps can take three times as long. The
    process then stays as large as it once was.

    Returns:
        Whether the C library does so.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _KEEP_BELOW) and mallopt(_TRIM_THRESHOLD, _RETURN_ABOVE))
