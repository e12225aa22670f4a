"""Different operations on the images of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.transforms.base import Params, choose, on_device

__all__ = ["Operation", "apply_each", "in_chunks", "on_device_values"]

Operation = Callable[[Tensor, NDArray[Any]], Tensor]
"""Makes images (B, 3, H, W) of images (B, 3, H, W) and one value each, (B,), on the host."""


def apply_each(
    images: Tensor, codes: NDArray[np.integer[Any]], values: NDArray[Any], operations: Sequence[Operation]
) -> Tensor:
    """Applies to every image its own operation, each operation once to all the images that have it.

    Args:
        images: not changed.
        codes: places in `operations`; below 0: no operation.
        values: the operations' values.
        operations: what there is.

    Shape:
        images: (B, 3, H, W).
        codes: (B,).
        values: (B,).
        Result: (B, 3, H, W).
    """
    present = np.unique(codes[codes >= 0]).tolist()
    if len(present) == 1 and (codes == present[0]).all():
        operation: Operation = operations[present[0]]
        return operation(images, values)
    result = images.clone()
    for code in present:
        which = np.flatnonzero(codes == code)
        where = on_device(which, images)
        result.index_copy_(0, where, operations[code](images.index_select(0, where), values[which]))
    return result


def in_chunks(apply: Callable[[Tensor, Params], Tensor], images: Tensor, params: Params, *, length: int = 1) -> Tensor:
    """`apply(images, params)`, on a processor for few images at a time.

    There, what lies between two operations on few images stays in the cache, in memory that was used before. One image
    has one operation at a time, and need not be picked from a batch and put back.

    Args:
        apply: for a part of the images, and their parameters.
        images: on any device.
        params: of the images.
        length: how many images at a time, on a processor.

    Shape:
        images: (B, ...).
        params: arrays (B, ...).
        Result: (B, ...).
    """
    if images.is_cuda or len(images) <= length:
        return apply(images, params)
    parts = (slice(start, start + length) for start in range(0, len(images), length))
    return torch.cat([apply(images[part], choose(params, part)) for part in parts])


def on_device_values(change: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    """An operation of a function that takes its values where the images are."""

    def operation(images: Tensor, values: NDArray[Any]) -> Tensor:
        return change(images, on_device(values, images))

    return operation
