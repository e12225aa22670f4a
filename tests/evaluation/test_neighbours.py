"""Nearest neighbours by tiles against a sort of the whole matrix."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreid_ext.evaluation import neighbours as module
from fastreid_ext.evaluation.neighbours import nearest_neighbours
from fastreid_ext.functional.distance_rows import DistanceRows


def draw(images: int, dim: int = 6, seed: int = 0) -> Tensor:
    """On a grid, so that distances are exact and many are equal."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-3, 4, (images, dim), generator=generator).float()


def by_sorting(features: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    distances = DistanceRows(features, features, "euclidean")[0 : len(features)]
    farthest = distances.amax(1)
    order = distances.fill_diagonal_(-1).sort(dim=1, stable=True)
    return order.values[:, :k].clamp_min(0), order.indices[:, :k], farthest


@pytest.mark.parametrize("tile", [1, 7, 16, 1024])
@pytest.mark.parametrize(("images", "k"), [(1, 1), (2, 2), (50, 1), (50, 21), (50, 50)])
def test_equals_a_stable_sort(images: int, k: int, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE", tile)
    features = draw(images)
    found = nearest_neighbours(features, k, metric="euclidean")
    distances, indices, farthest = by_sorting(features, k)
    assert torch.equal(found.indices, indices)
    assert torch.equal(found.distances, distances) and torch.equal(found.farthest, farthest)


@pytest.mark.parametrize("own", [slice(0, 1), slice(13, 40), slice(0, 49), slice(37, 50)])
def test_a_share_of_the_rows(own: slice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE", 8)
    features = draw(50)
    matrix = DistanceRows(features, features, "euclidean")
    distances, indices, farthest = module._search_by_tiles(matrix, 9, own)
    expected = by_sorting(features, 9)
    assert torch.equal(indices, expected[1][own])
    assert torch.equal(distances.clamp_min(0), expected[0][own]) and torch.equal(farthest, expected[2][own])


def test_by_rows_as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GPU_ELEMENTS", 500)
    features = torch.randn(70, 5, generator=torch.Generator().manual_seed(0))
    distances, indices, farthest = module._search_by_rows(DistanceRows(features, features), 8, slice(3, 60))
    expected = nearest_neighbours(features, 8)
    assert torch.equal(indices, expected.indices[3:60])
    torch.testing.assert_close(distances.clamp_min(0), expected.distances[3:60])
    torch.testing.assert_close(farthest, expected.farthest[3:60])


def test_several_threads_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE", 32)
    features = draw(1000, seed=1)
    threads = torch.get_num_threads()
    found = []
    try:
        for number in (1, 5):
            torch.set_num_threads(number)
            found.append(nearest_neighbours(features, 15, metric="euclidean"))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0].indices, found[1].indices) and torch.equal(found[0].distances, found[1].distances)


def test_an_image_comes_before_its_copies() -> None:
    features = torch.ones(30, 4)
    assert torch.equal(nearest_neighbours(features, 3).indices[:, 0], torch.arange(30))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types(dtype: torch.dtype) -> None:
    found = nearest_neighbours(draw(40).to(dtype), 5, metric="euclidean")
    assert torch.equal(found.indices, by_sorting(draw(40), 5)[1])
    assert found.distances.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("k", [0, 31])
def test_refuses(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be between 1 and the number of images, 30; got {k}"):
        nearest_neighbours(draw(30), k)
