"""Vectors to search: clustered, as embeddings are."""

from __future__ import annotations

import torch
from torch import Tensor

from fastreid_ext.functional.distance_rows import DistanceRows
from fastreid_ext.functional.distances import Metric


def draw(number: int, dim: int = 32, *, seed: int = 0) -> Tensor:
    """Images of 60 identities; the seed draws other images of the same ones."""
    centres = torch.randn(60, dim, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    pids = torch.randint(60, (number,), generator=generator)
    return centres[pids] + 0.6 * torch.randn(number, dim, generator=generator)


def on_a_grid(number: int, dim: int = 4, *, seed: int = 0) -> Tensor:
    """Squared distances are exact, and many are equal."""
    return torch.randint(-3, 4, (number, dim), generator=torch.Generator().manual_seed(seed)).float()


def by_sorting(queries: Tensor, vectors: Tensor, k: int, metric: Metric) -> tuple[Tensor, Tensor]:
    found = DistanceRows(queries, vectors, metric)[0 : len(queries)].clamp_min(0).sort(dim=1, stable=True)
    return found.values[:, :k], found.indices[:, :k]
