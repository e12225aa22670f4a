"""Which classes are nearest to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.functional.precision import full_precision

__all__ = ["nearest_classes"]

_BLOCK_ELEMENTS = 2**24


@torch.no_grad()
def nearest_classes(means: Tensor, number: int, rows: slice = slice(None)) -> Tensor:
    """The classes of smallest average distance to each class, nearest first, itself left out.

    The squared Euclidean distance between a unit feature of class p and one of class q is 2 - 2 x.y, so that its mean
    over all pairs is exactly 2 - 2 m_p.m_q, with m the mean of a class's unit features: no pair of images is looked at,
    and images cost nothing but the sums that the means are made of. Products are made in blocks of rows, no matrix of
    all classes; of equal distances, the class of the smaller index comes first.

    Args:
        means: of the unit features of each class; not of unit length themselves.
        number: of neighbours, fewer than there are classes.
        rows: the classes whose neighbours are wanted; all by default.

    Shape:
        means: (C, D).
        Result: (C, number), int64, or as many rows as `rows` has.

    Raises:
        ValueError: there are not that many other classes.
    """
    classes = len(means)
    if not 0 <= number < classes:
        raise ValueError(f"a class has {classes - 1} others, of which {number} cannot be the nearest")
    means = means.detach().float()
    start, stop, _ = rows.indices(classes)
    step = max(1, _BLOCK_ELEMENTS // classes)
    result = torch.empty(max(0, stop - start), number, dtype=torch.int64, device=means.device)
    with full_precision(means.device.type):
        for first in range(start, stop, step):
            block = slice(first, min(first + step, stop))
            products = means[block] @ means.T
            products.diagonal(first).fill_(-torch.inf)
            result[first - start : block.stop - start] = _largest(products, number)
    return result


def _largest(values: Tensor, number: int) -> Tensor:
    """Places of the largest values of each row, fewer than it has; of equal ones the first."""
    found = values.topk(number + 1, dim=1)
    places = found.indices[:, :number].sort(dim=1).values
    places = places.gather(1, values.gather(1, places).argsort(dim=1, descending=True, stable=True))
    # Which of several equal values is the last one found is not defined, but they are rarely equal.
    tied = (found.values[:, -1:] == found.values[:, number - 1 : number]).any(1).nonzero().squeeze(1)
    places[tied] = values[tied].argsort(dim=1, descending=True, stable=True)[:, :number]
    return places
