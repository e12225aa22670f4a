"""Ranks of a few items in long rows, by counting instead of sorting."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from fastreid_ext.functional.rank_kernels import count_ranks

__all__ = ["positive_ranks"]

_COUNT_ELEMENTS = 2**20


def positive_ranks(distances: Tensor, items: Tensor, positive: Tensor) -> Tensor:
    """Ranks that a stable sort of each row would give to the row's positives.

    The rank of a positive is one plus the number of items before it: nearer, or as near and of a lower index. Items at
    distance infinity count for nobody. On a CPU compiled loops count, elsewhere all items of a row are put between the
    row's sorted positives by bisection in lock step.

    Shape:
        distances: (B, G), without NaN; finite at the positives.
        items: (B, P), indices into the row, ascending among the positives; any valid index where there is none.
        positive: (B, P), where `items` names a positive.
        Result: (B, P), 1-based, ascending; 0 behind the row's last positive.
    """
    if distances.device.type == "cpu":
        ranks = torch.empty_like(items)
        count_ranks(ranks.numpy(), distances.numpy(), items.numpy(), positive.numpy())
        return ranks
    return _ranks_in_lock_step(distances, items, positive)


def _ranks_in_lock_step(distances: Tensor, items: Tensor, positive: Tensor) -> Tensor:
    rows = max(1, _COUNT_ELEMENTS // max(1, distances.shape[1]))
    parts = zip(*(torch.split(tensor, rows) for tensor in (distances, items, positive)), strict=True)
    return torch.cat([_ranks(*part) for part in parts])


def _ranks(distances: Tensor, items: Tensor, positive: Tensor) -> Tensor:
    targets, order = distances.gather(1, items).masked_fill(~positive, torch.inf).sort(dim=1, stable=True)
    number = targets.shape[1]
    padding = (0, (1 << number.bit_length()) - 1 - number)
    targets = pad(targets, padding, value=torch.inf)
    bins = _count_not_further(targets, distances)
    _resolve_ties(bins, distances, targets, pad(items.gather(1, order), padding))
    counts = bins.new_zeros(len(bins), targets.shape[1] + 1)
    counts.scatter_add_(1, bins, bins.new_ones(1).expand_as(bins))
    ranks = 1 + counts.cumsum(1)[:, :number]
    return ranks.masked_fill(~positive.gather(1, order), 0)


def _count_not_further(targets: Tensor, distances: Tensor) -> Tensor:
    """How many of the row's targets are not further than each item.

    A bisection in lock step, without the branches of `torch.searchsorted`.

    Shape:
        targets: (B, 2^n - 1), ascending. distances: (B, G).
        Result: (B, G).
    """
    count = torch.zeros_like(distances, dtype=torch.int64)
    step = targets.shape[1] + 1
    while step > 1:
        step //= 2
        reached = targets[:, step - 1 :].gather(1, count) <= distances
        count.add_(reached, alpha=step)
    return count


def _resolve_ties(bins: Tensor, distances: Tensor, targets: Tensor, target_items: Tensor) -> None:
    """Moves items as near as some target to the bin before the first such target behind them in the gallery, in place.

    Targets at one distance share a number, the index of the last of them. Written as one integer, (row, number, gallery
    index) then sorts items among targets.
    """
    gallery, width = distances.shape[1], targets.shape[1]
    # Infinity must not tie with infinity: neither a junk item nor the padding is worth the time.
    finite = pad(targets.masked_fill(targets.isinf(), torch.nan), (1, 0), value=torch.nan)
    row, item = (finite.gather(1, bins) == distances).nonzero(as_tuple=True)
    numbers = torch.searchsorted(targets, targets, right=True) - 1
    numbers += width * torch.arange(len(targets), device=targets.device)[:, None]
    keys = (numbers * gallery + target_items).flatten()
    wanted = (row * width + bins[row, item] - 1) * gallery + item
    bins[row, item] = torch.searchsorted(keys, wanted, right=True) - row * width
