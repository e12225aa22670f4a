"""Nearest classes, against the average of all distances between their images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from fastreid_ext.functional import class_neighbours
from fastreid_ext.functional.class_neighbours import nearest_classes


def features(classes: int = 9, dimensions: int = 5) -> list[Tensor]:
    """Unit features of the images of each class, of which no two have equally many."""
    generator = torch.Generator().manual_seed(3)
    drawn = [torch.randn(2 + label, dimensions, generator=generator, dtype=torch.float64) for label in range(classes)]
    return [of_class / of_class.norm(dim=1, keepdim=True) for of_class in drawn]


def average_distances(images: list[Tensor]) -> np.ndarray:
    """Mean squared distance over all pairs of images of two classes, pair by pair."""
    result = np.zeros((len(images), len(images)))
    for p, first in enumerate(images):
        for q, second in enumerate(images):
            distances = [float(((x - y) ** 2).sum()) for x in first for y in second]
            result[p, q] = sum(distances) / len(distances)
    return result


def means_of(images: list[Tensor]) -> Tensor:
    return torch.stack([of_class.mean(0) for of_class in images]).float()


@pytest.mark.parametrize("elements", [1, 20, 2**24])
def test_nearest_are_those_of_the_smallest_average_distance(monkeypatch: pytest.MonkeyPatch, elements: int) -> None:
    monkeypatch.setattr(class_neighbours, "_BLOCK_ELEMENTS", elements)
    images = features()
    distances = average_distances(images)
    np.fill_diagonal(distances, np.inf)
    expected = np.argsort(distances, axis=1)[:, :4]
    np.testing.assert_array_equal(nearest_classes(means_of(images), 4).numpy(), expected)
    np.testing.assert_array_equal(nearest_classes(means_of(images), 4, slice(2, 7)).numpy(), expected[2:7])


def test_all_others_of_a_class_are_its_neighbours_at_most() -> None:
    nearest = nearest_classes(means_of(features()), 8)
    assert [sorted(row) for row in nearest.tolist()] == [[q for q in range(9) if q != p] for p in range(9)]
    assert nearest_classes(torch.ones(1, 3), 0).shape == (1, 0)
    for number in (9, -1):
        with pytest.raises(ValueError, match="a class has 8 others"):
            nearest_classes(means_of(features()), number)


def test_ties_go_to_the_smaller_label() -> None:
    means = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    assert nearest_classes(means, 3).tolist() == [[2, 4, 1], [0, 2, 4], [0, 4, 1], [0, 2, 4], [0, 2, 1]]


def test_means_stay_as_they_are_and_half_precision_is_widened() -> None:
    means = means_of(features())
    before = means.clone()
    expected = nearest_classes(means.half().float(), 3)
    assert torch.equal(nearest_classes(means.half(), 3), expected)
    assert torch.equal(means, before)
