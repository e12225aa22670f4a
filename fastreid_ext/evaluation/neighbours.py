"""The nearest neighbours of each image among all images."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from fastreid_ext.functional.distance_rows import DistanceRows
from fastreid_ext.functional.distances import Metric
from fastreid_ext.functional.precision import full_precision, wide_type
from fastreid_ext.index.neighbour_kernels import offer_tile
from fastreid_ext.utils.dist import each_rank_its_rows, get_world_size
from fastreid_ext.utils.threads import block_pool, in_order

__all__ = ["Neighbours", "nearest_neighbours"]

_TILE = 1024
# Tiles between which the rows are not scaled anew.
_STRIP = 8
_GPU_ELEMENTS = 2**28


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The k nearest images of each image: itself, then others in the order of distance, then index.

    Attributes:
        distances: to them; for "euclidean" squared. An image is at distance 0 from itself.
        indices: which they are.
        farthest: distance of the farthest of all images; None where an index was asked.

    Shape:
        distances: (N, k), float32 or float64, on the device of the features. indices: (N, k). farthest: (N,).
    """

    distances: Tensor
    indices: Tensor
    farthest: Tensor | None


# Threads that inference mode does not reach write to tensors that are made here.
@torch.inference_mode(False)
@torch.no_grad()
def nearest_neighbours(features: Tensor, k: int, *, metric: Metric = "cosine", shard: bool = False) -> Neighbours:
    """Finds them by way of blocks of the distance matrix, exactly.

    On a CPU one process computes only half of the matrix, which is symmetric. On a GPU the order of neighbours at one
    distance is that of `torch.topk`.

    Args:
        features: of the images, finite.
        k: neighbours, the image itself among them.
        metric: of the distances.
        shard: every process of the run calls this with the same arguments, searches for its share of the images, and
            returns the neighbours of all.

    Shape:
        features: (N, D).

    Raises:
        ValueError: k is not between 1 and N.
    """
    number = len(features)
    if not 1 <= k <= number:
        raise ValueError(f"k must be between 1 and the number of images, {number}; got {k}.")
    rows = DistanceRows(features, features, metric)
    search = _search_by_tiles if features.device.type == "cpu" else _search_by_rows
    if shard and get_world_size() > 1:
        # Whole tiles, those that one process has: rounding differs from tile to tile.
        tiles = (number + _TILE - 1) // _TILE
        found = each_rank_its_rows(
            lambda own: search(rows, k, slice(own.start * _TILE, min(own.stop * _TILE, number))), tiles
        )
        distances, indices, farthest = (part.to(features.device) for part in found)
    else:
        distances, indices, farthest = search(rows, k, slice(0, number))
    return Neighbours(distances.clamp_min_(0), indices, farthest)


def _search_by_tiles(matrix: DistanceRows, k: int, own: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of the images in `own`; when these are all images, a tile serves its rows and its columns."""
    number, mirrored = matrix.shape[0], own == slice(0, matrix.shape[0])
    distances = torch.full((number, k), torch.inf, dtype=wide_type(matrix.gallery.dtype))
    indices = torch.full((number, k), number)
    limits, farthest = torch.full_like(distances[:, 0], torch.inf), torch.zeros_like(distances[:, 0])
    # Of the lists of each block of images, taken in ascending order: nobody waits in a circle.
    locks = [threading.Lock() for _ in range(0, number, _TILE)]
    buffers = threading.local()

    def compute(scaled: Tensor, rows: slice, columns: slice) -> Tensor:
        if not hasattr(buffers, "tile"):
            buffers.tile = torch.empty(_TILE * _TILE, dtype=distances.dtype)
        shape = len(scaled), columns.stop - columns.start
        return matrix.tile(scaled, rows, columns, buffers.tile[: math.prod(shape)].view(shape)).clamp_min_(0)

    def offer(strip: tuple[slice, list[slice]]) -> None:
        rows, parts = strip
        scaled = matrix.scaled(rows)
        for columns in parts:
            if columns.start < rows.start:
                # As in the half of the matrix that one process computes.
                tile = compute(matrix.scaled(columns), columns, rows).T.contiguous()
            else:
                tile = compute(scaled, rows, columns)
            _put_own_first(tile, rows, columns)
            both = mirrored and rows != columns
            with locks[rows.start // _TILE], locks[columns.start // _TILE] if both else nullcontext():
                lists = (distances.numpy(), indices.numpy(), limits.numpy())
                offer_tile(tile.numpy(), rows.start, columns.start, both, *lists)
                farthest[rows] = torch.maximum(farthest[rows], tile.amax(1))
                if both:
                    farthest[columns] = torch.maximum(farthest[columns], tile.amax(0))

    strips = list(_strips(own, number, mirrored))
    with full_precision("cpu"), block_pool(matrix.gallery.device, len(strips)) as pool:
        for _ in in_order(offer, iter(strips), pool=pool, ahead=torch.get_num_threads()):
            pass
    return distances[own], indices[own], farthest[own]


def _strips(own: slice, number: int, mirrored: bool) -> Iterator[tuple[slice, list[slice]]]:
    """Blocks of images, each with a few blocks of others; mirrored only with those behind it."""
    columns = [slice(start, min(start + _TILE, number)) for start in range(0, number, _TILE)]
    for start in range(own.start, own.stop, _TILE):
        rows = slice(start, min(start + _TILE, own.stop))
        others = [block for block in columns if not mirrored or block.start >= start]
        yield from ((rows, others[first : first + _STRIP]) for first in range(0, len(others), _STRIP))


def _search_by_rows(matrix: DistanceRows, k: int, own: slice) -> tuple[Tensor, Tensor, Tensor]:
    number = matrix.shape[0]
    step = max(1, _GPU_ELEMENTS // number)
    found = []
    for start in range(own.start, own.stop, step):
        rows = slice(start, min(start + step, own.stop))
        block = matrix.rows(rows).clamp_min_(0)
        _put_own_first(block, rows, slice(0, number))
        found.append((*block.topk(k, largest=False), block.amax(1)))
        del block
    distances, indices, farthest = (torch.cat(parts) for parts in zip(*found, strict=True))
    return distances, indices, farthest


def _put_own_first(tile: Tensor, rows: slice, columns: slice) -> None:
    """Sets distances of images to themselves below those to copies of them."""
    offset = rows.start - columns.start
    if -tile.shape[0] < offset < tile.shape[1]:
        tile.diagonal(offset).fill_(-1)
