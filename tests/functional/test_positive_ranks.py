"""Ranks by counting against a stable sort."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fastreid_ext.functional import positive_ranks as module
from fastreid_ext.functional.positive_ranks import positive_ranks

BOTH = pytest.mark.parametrize("function", [positive_ranks, module._ranks_in_lock_step])


@BOTH
def test_by_hand(function: Callable[..., Tensor]) -> None:
    distances = torch.tensor([[0.5, 0.1, torch.inf, 0.5, 0.5, 0.2]])
    items, positive = torch.tensor([[0, 3, 4, 1]]), torch.tensor([[True, False, True, False]])
    assert function(distances, items, positive).tolist() == [[3, 5, 0, 0]]


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("levels", [1, 4, 10**6])
@pytest.mark.parametrize("positives", [1, 3, 8, 700])
def test_equals_stable_sort(
    function: Callable[..., Tensor],
    dtype: torch.dtype,
    levels: int,
    positives: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_COUNT_ELEMENTS", 2000)
    generator = torch.Generator().manual_seed(levels + positives)
    distances = torch.randint(levels, (7, 900), generator=generator).to(dtype)
    items = torch.stack([torch.randperm(900, generator=generator)[:positives].sort().values for _ in range(7)])
    ranks = distances.argsort(dim=1, stable=True).argsort(dim=1) + 1
    expected = ranks.gather(1, items).sort(dim=1).values
    assert torch.equal(function(distances, items, torch.ones_like(items, dtype=torch.bool)), expected)


@BOTH
@pytest.mark.parametrize("positives", [5, 700])
def test_infinite_distances_count_for_nobody(function: Callable[..., Tensor], positives: int) -> None:
    distances = torch.arange(900.0).flip(0)[None]
    junk = torch.arange(899, 99, -1)
    distances[0, junk[positives:]] = torch.inf
    items = junk[:positives].sort().values[None]
    ranks = function(distances, items, torch.ones_like(items, dtype=torch.bool))
    assert torch.equal(ranks[0], torch.arange(1, positives + 1))
