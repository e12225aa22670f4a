"""Loops over numbers, compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

__all__ = ["compiled"]

T = TypeVar("T", bound=Callable[..., Any])


def compiled(function: T) -> T:
    """Compiles a function of numbers and NumPy arrays when it is first called; it runs without Python's global lock.

    The result is kept beside the file, else in numba's cache folder, unless neither can be written to. Nothing checks
    indices.
    """
    machine_code: Any
    try:
        machine_code = njit(cache=True, nogil=True)(function)
    except RuntimeError:
        machine_code = njit(nogil=True)(function)
    return cast(T, machine_code)
