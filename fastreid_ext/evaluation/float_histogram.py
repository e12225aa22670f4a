"""Counts of numbers in fine bins, whatever range the numbers are of."""

from __future__ import annotations

import threading

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.utils.compiled import compiled

__all__ = ["FloatHistogram"]

# A float32 has 32 bits: sign, 8 of exponent, 23 of mantissa. Without the last 8, 15 of the mantissa are left.
_SHIFT = 8
_BINS = 2 ** (32 - _SHIFT)
_ZERO = _BINS // 2
_MAGNITUDE = 2**31 - 1
_CHUNK = 2**24


class FloatHistogram:
    """A histogram whose bins are numbers alike in the first bits of their float32 form.

    Those bits, read as an integer, rise with the number. So one set of bins serves small distances and large ones,
    each bin 2^-15 of its numbers wide, and of all bins only those of numbers that occur are ever touched. float64 is
    rounded to float32 first, which keeps the order. NaN is not counted. Several threads may add at once.
    """

    def __init__(self, device: torch.device) -> None:
        self._lock = threading.Lock()
        # On a CPU NumPy's zeros take no memory until they are written to.
        self._counts = torch.from_numpy(np.zeros(_BINS, np.int64)).to(device)

    def add(self, values: Tensor) -> None:
        """Counts floats.

        Shape:
            values: any, contiguous.
        """
        if values.dtype == torch.float64:
            largest = torch.finfo(torch.float32).max
            values = values.clamp(-largest, largest)
        values = values.float().flatten()
        if values.device.type == "cpu":
            with self._lock:
                _count(self._counts.numpy(), values.numpy(), _SHIFT)
            return
        for part in torch.split(values, _CHUNK):
            # NaN has many forms, negative ones among them; this one lies beyond infinity.
            numbers = part.masked_fill(part.isnan(), torch.nan)
            self._counts += bins_of(numbers).bincount(minlength=_BINS)

    def levels(self) -> tuple[Tensor, Tensor]:
        """Upper edges of the bins that are not empty, ascending, which belong to their bins; and their counts.

        Shape:
            Result: (L,), (L,), on the CPU.
        """
        numbers = self._counts[: int(bins_of(torch.tensor([torch.inf], dtype=torch.float32)))]
        used = numbers.nonzero().flatten()
        return _upper_edges(used).cpu(), numbers[used].cpu()


def bins_of(values: Tensor) -> Tensor:
    """The bin of each number.

    Shape:
        values: (N,), float32.
        Result: (N,), int64.
    """
    # -0 equals 0 and must not lie before it; -0 + 0 is 0.
    bits = (values + 0.0).view(torch.int32)
    bins: Tensor = (_ordered(bits) >> _SHIFT) + _ZERO
    return bins.long()


def _ordered(bits: Tensor) -> Tensor:
    """Integers that rise with the floats of these bits, or these bits again: it is its own inverse."""
    return torch.bitwise_xor(bits, (bits >> 31) & _MAGNITUDE)


def _upper_edges(bins: Tensor) -> Tensor:
    last: Tensor = ((bins - _ZERO + 1) << _SHIFT) - 1
    return _ordered(last.int()).view(torch.float32)


@compiled
def _count(counts: NDArray[np.int64], values: NDArray[np.float32], shift: int) -> None:
    """`counts[bins_of(values)] += 1`, in one pass."""
    zero = len(counts) // 2
    for i in range(np.uintp(len(values))):
        bits = np.float32(values[i] + np.float32(0)).view(np.int32)
        if values[i] != values[i]:
            continue
        ordered = bits ^ ((bits >> 31) & np.int32(_MAGNITUDE))
        counts[np.uintp((ordered >> shift) + zero)] += 1
