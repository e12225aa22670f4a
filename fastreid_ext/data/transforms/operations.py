"""Different operations on the images of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fastreid_ext.data.transforms.base import on_device

__all__ = ["Operation", "apply_each", "on_device_values"]

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


def on_device_values(change: Callable[[Tensor, Tensor], Tensor]) -> Operation:
    """An operation of a function that takes its values where the images are."""

    def operation(images: Tensor, values: NDArray[Any]) -> Tensor:
        return change(images, on_device(values, images))

    return operation
