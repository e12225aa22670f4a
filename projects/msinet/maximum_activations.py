"""The largest activation of each position with another image, without the activations of all pairs of positions."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fastreid_ext.functional.precision import full_precision
from fastreid_ext.projects.msinet.activation_kernels import anchor_gradient, column_maxima, other_gradient, row_maxima
from fastreid_ext.utils.threads import block_pool, in_order

__all__ = ["maximum_activations", "projected_maximum_activations"]

# Positions on the two sides of a tile: as much as stays in a core's cache. They decide about rounding, and so depend
# on nothing but the maps.
_ROWS, _COLUMNS = 256, 512
_GPU_BYTES = 2**26
# Images whose gradient is turned around at once.
_TURNED = 8

# Images, and what takes the sum of their gradients, if it is asked for.
_WithGradient = tuple[Tensor, Tensor | None]


def maximum_activations(anchors: Tensor, others: Tensor) -> Tensor:
    """The largest dot product of each position of each anchor with the positions of each other image (eq. 7).

    Blocks of the dot products are computed and forgotten; the maxima and, for the gradient, their positions are kept.
    With the same tensor on both sides half of the products are enough on a CPU. Equal maxima: the gradient goes to
    the first.

    Shape:
        anchors: (A, C, h, w), float32 or float64. others: (B, C, h', w'), of the same type.
        Result: (A, B, h w).

    Raises:
        ValueError: other shapes, or images without positions.
    """
    maxima: Tensor = _apply(anchors, others, None)[0]
    return maxima


def projected_maximum_activations(anchors: Tensor, others: Tensor, projection: Tensor) -> tuple[Tensor, Tensor]:
    """`maximum_activations`, and the projected positions of the anchors.

    Computed together, the two gradients of the maps are one from the start: apart, they and their sum would be as much
    again as the maps twice.

    Shape:
        anchors: (A, C, h, w), float32 or float64. others: (B, C, h', w'), projection: (D, C), of the same type.
        Results: (A, B, h w), (A, h w, D).

    Raises:
        ValueError: other shapes, or images without positions.
    """
    maxima, projected = _apply(anchors, others, projection)
    return maxima, projected


def _apply(anchors: Tensor, others: Tensor, projection: Tensor | None) -> tuple[Tensor, Any]:
    if anchors.dim() != 4 or others.dim() != 4 or anchors.shape[1] != others.shape[1] or not others.shape[2:].numel():
        raise ValueError(
            f"activations are between maps of anchors (A, C, h, w) and of others (B, C, h', w') with the same C, "
            f"not {tuple(anchors.shape)} and {tuple(others.shape)}"
        )
    given = anchors, None if others is anchors else others, projection
    results: tuple[Tensor, Any] = _MaximumActivations.apply(*given)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return results


class _MaximumActivations(torch.autograd.Function):
    """`others` is None where they are the anchors."""

    @staticmethod
    def forward(
        ctx: Any, anchors: Tensor, others: Tensor | None, projection: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        ctx.set_materialize_grads(False)
        ctx.like = anchors.shape, others is not None and others.shape, anchors.is_contiguous()
        # Worker threads record gradients unless what they are given has none.
        rows = _rows_of(anchors.detach())
        other_rows = None if others is None else _rows_of(others.detach())
        find = _find_in_threads if rows.device.type == "cpu" else _find_in_blocks
        with full_precision(rows.device.type):
            maxima, positions = find(rows, other_rows)
            projected = None if projection is None else rows @ projection.mT
        ctx.save_for_backward(rows, other_rows, positions, projection)
        return maxima, projected

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]  # torch types it as *Any
        ctx: Any, of_maxima: Tensor | None, of_projected: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        rows, other_rows, positions, projection = ctx.saved_tensors
        shape, other_shape, contiguous = ctx.like
        of_rows = torch.zeros_like(rows) if ctx.needs_input_grad[0] else None
        of_others = torch.zeros_like(other_rows) if ctx.needs_input_grad[1] else None
        of_projection = None
        with full_precision(rows.device.type):
            if of_maxima is not None:
                onto = (rows, of_rows) if other_rows is None else (other_rows, of_others)
                add = _add_in_threads if rows.device.type == "cpu" else _add_in_blocks
                add(of_maxima.contiguous(), positions, (rows, of_rows), onto)
            if of_projected is not None:
                flat = of_projected.flatten(0, 1)
                if of_rows is not None:
                    of_rows.view(-1, shape[1]).addmm_(flat, projection)
                if ctx.needs_input_grad[2]:
                    of_projection = flat.mT @ rows.flatten(0, 1)
        return (
            None if of_rows is None else _as_maps(of_rows, shape, contiguous=contiguous),
            None if of_others is None else _as_maps(of_others, other_shape, contiguous=contiguous),
            of_projection,
        )


def _rows_of(maps: Tensor) -> Tensor:
    """A row a position, (B, N, C): the maps themselves if they are channels-last."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2).contiguous()


def _as_maps(rows: Tensor, shape: torch.Size, *, contiguous: bool) -> Tensor:
    """Rows as maps; for contiguous ones they are turned around where they lie, and `rows` are lost."""
    batch, channels, height, width = shape
    if not contiguous:
        return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)
    maps = rows.view(batch, channels, height * width)
    for block in _blocks(batch, _TURNED):
        maps[block] = rows[block].mT.clone(memory_format=torch.contiguous_format)
    return maps.view(shape)


def _find_in_threads(anchors: Tensor, others: Tensor | None) -> tuple[Tensor, Tensor]:
    """Tiles of products, a row of tiles a thread, in the cache when their maxima are taken."""
    mirrored, others = others is None, anchors if others is None else others
    maxima, positions = _empty_maxima(anchors, others)
    into = maxima.numpy(), positions.numpy()
    (_, size, channels), (images, width, _) = anchors.shape, others.shape
    rows, columns = max(1, _ROWS // max(1, size)), max(1, _COLUMNS // width)
    buffers = threading.local()

    def run(block: slice) -> None:
        if not hasattr(buffers, "tile"):
            buffers.tile = anchors.new_empty(rows * size * columns * width)
        left = anchors[block].view(-1, channels)
        for first in range(block.start if mirrored else 0, images, columns):
            right = others[first : first + columns]
            products = buffers.tile[: len(left) * len(right) * width].view(len(left), -1)
            torch.mm(left, right.view(-1, channels).T, out=products)
            tile = products.view(len(left), -1, width).numpy()
            row_maxima(tile, block.start, first, *into)
            if mirrored:
                column_maxima(tile, block.start, first, *into)

    _in_threads(run, len(anchors), rows, anchors.device)
    return maxima, positions


def _add_in_threads(given: Tensor, positions: Tensor, anchors: _WithGradient, others: _WithGradient) -> None:
    """The gradient of an image is one thread's work, so that sums have the same order with any number of them."""
    maxima = given.numpy(), positions.numpy()
    left, right = anchors[0].numpy(), others[0].numpy()
    if anchors[1] is not None:
        into = anchors[1].numpy()
        _in_threads(lambda block: anchor_gradient(into, block.start, *maxima, right), len(left), 1, given.device)
    if others[1] is not None:
        onto = others[1].numpy()
        _in_threads(lambda block: other_gradient(onto, block.start, *maxima, left), len(right), 1, given.device)


def _find_in_blocks(anchors: Tensor, others: Tensor | None) -> tuple[Tensor, Tensor]:
    """Products of some anchors with all others at a time."""
    others = anchors if others is None else others
    maxima, positions = _empty_maxima(anchors, others)
    for block in _blocks(len(anchors), _anchors_at_once(anchors, others)):
        products = anchors[block].flatten(0, 1) @ others.flatten(0, 1).T
        values, where = products.view(-1, anchors.shape[1], *others.shape[:2]).max(3)
        maxima[block], positions[block] = values.mT, where.mT
    return maxima, positions


def _add_in_blocks(given: Tensor, positions: Tensor, anchors: _WithGradient, others: _WithGradient) -> None:
    """Products with the gradient of all activations, a block of it at a time: no atomic additions, no waiting."""
    (left, of_left), (right, of_right) = anchors, others
    for block in _blocks(len(left), _anchors_at_once(left, right)):
        weights, where = given[block].mT[..., None], positions[block].mT[..., None].long()
        of_products = given.new_zeros(*weights.shape[:3], right.shape[1]).scatter_(3, where, weights)
        flat = of_products.flatten(2).flatten(0, 1)
        if of_left is not None:
            of_left[block].view(-1, left.shape[2]).addmm_(flat, right.flatten(0, 1))
        if of_right is not None:
            of_right.view(-1, right.shape[2]).addmm_(flat.T, left[block].flatten(0, 1))


def _empty_maxima(anchors: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Room for the maxima and, in the smallest type, for their positions."""
    shape = len(anchors), len(others), anchors.shape[1]
    types = (torch.uint8, torch.int16, torch.int32)
    smallest = next(dtype for dtype in types if others.shape[1] - 1 <= torch.iinfo(dtype).max)
    return anchors.new_empty(shape), anchors.new_empty(shape, dtype=smallest)


def _blocks(number: int, size: int) -> Iterator[slice]:
    return (slice(first, min(first + size, number)) for first in range(0, number, size))


def _anchors_at_once(anchors: Tensor, others: Tensor) -> int:
    row_bytes = anchors.dtype.itemsize * math.prod(others.shape[:2]) * max(1, anchors.shape[1])
    return max(1, _GPU_BYTES // max(1, row_bytes))


def _in_threads(run: Callable[[slice], None], number: int, size: int, device: torch.device) -> None:
    blocks = list(_blocks(number, size))
    with block_pool(device, len(blocks)) as pool:
        for _ in in_order(run, iter(blocks), pool=pool, ahead=2 * torch.get_num_threads()):
            pass
