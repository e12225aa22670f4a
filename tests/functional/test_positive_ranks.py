"""Ranks by counting against a stable sort."""

from __future__ import annotations

import pytest
import torch

from fastreid_ext.functional import positive_ranks as module
from fastreid_ext.functional.positive_ranks import positive_ranks


def test_by_hand() -> None:
    distances = torch.tensor([[0.5, 0.1, torch.inf, 0.5, 0.5, 0.2]])
    items, positive = torch.tensor([[0, 3, 4, 1]]), torch.tensor([[True, False, True, False]])
    assert positive_ranks(distances, items, positive).tolist() == [[3, 5, 0, 0]]


@pytest.mark.parametrize("levels", [1, 4, 10**6])
@pytest.mark.parametrize("positives", [1, 3, 8, 200])
def test_equals_stable_sort(levels: int, positives: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COUNT_ELEMENTS", 500)
    generator = torch.Generator().manual_seed(levels + positives)
    distances = torch.randint(levels, (7, 200), generator=generator).float()
    items = torch.stack([torch.randperm(200, generator=generator)[:positives].sort().values for _ in range(7)])
    ranks = distances.argsort(dim=1, stable=True).argsort(dim=1) + 1
    expected = ranks.gather(1, items).sort(dim=1).values
    assert torch.equal(positive_ranks(distances, items, torch.ones_like(items, dtype=torch.bool)), expected)
