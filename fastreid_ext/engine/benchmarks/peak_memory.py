"""How much memory a piece of work takes while it runs."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType

import torch

__all__ = ["PeakMemory"]

_PROCESS = Path("/proc/self")
_FORGET_PEAK = "5"


class PeakMemory:
    """What the block added at most to the memory that was taken before: of the GPU on CUDA, else of this process.

    Attributes:
        megabytes: in 10^6 bytes, after the block; None where the system does not tell (only Linux does).

    Args:
        device: where the work is done.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._on_gpu = device.startswith("cuda")
        self.megabytes: float | None = None
        self._before = 0

    def __enter__(self) -> PeakMemory:
        if self._on_gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self._before = torch.cuda.memory_allocated()
        elif _can_tell():
            _return_free_memory()
            (_PROCESS / "clear_refs").write_text(_FORGET_PEAK)
            self._before = _status("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._on_gpu:
            self.megabytes = (torch.cuda.max_memory_allocated() - self._before) / 1e6
        elif _can_tell():
            self.megabytes = max(0, _status("VmHWM") - self._before) / 1e6


def _can_tell() -> bool:
    return (_PROCESS / "clear_refs").exists()


def _return_free_memory() -> None:
    """What the C library keeps would be taken again unnoticed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status(field: str) -> int:
    for line in (_PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"{_PROCESS / 'status'} does not tell {field}.")
