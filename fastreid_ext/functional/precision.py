"""Sums and exponentials need at least float32, and rankings all of it, whatever the network computes in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["full_precision", "wide_type", "widen"]


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """float32 for half precision, wider types themselves."""
    return torch.promote_types(dtype, torch.float32)


def widen(x: Tensor) -> Tensor:
    """Half precision as float32, wider types as they are.

    Shape:
        x: any.
        Result: that of `x`.
    """
    return x.to(wide_type(x.dtype))


@contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Matrix products of float32 in float32: without autocast, TF32 or bfloat16 passes, whatever training uses.

    The setting is the process's: with several threads inside, the first to come changes it and the last to go restores.
    """
    with _SETTING, torch.autocast(device_type, enabled=False):
        yield


class _HighestPrecision:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[str] = []

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._before = _precisions()
                _set_precisions(["ieee"] * len(self._before) if _backends() else ["highest"])
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                _set_precisions(self._before)


_SETTING = _HighestPrecision()


def _backends() -> list[Any]:
    """PyTorch 2.9 gave each backend a setting, and raises when the older, common one is read beside them."""
    found = (
        (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul) if hasattr(torch.backends.mkldnn, "matmul") else ()
    )
    return [backend for backend in found if hasattr(backend, "fp32_precision")]


def _precisions() -> list[str]:
    return [backend.fp32_precision for backend in _backends()] or [torch.get_float32_matmul_precision()]


def _set_precisions(precisions: list[str]) -> None:
    backends = _backends()
    for backend, precision in zip(backends, precisions, strict=False):
        backend.fp32_precision = precision
    if not backends:
        torch.set_float32_matmul_precision(precisions[0])
