"""beta-normalisation: eq. 12 of Group Loss++ against a loop, and what it does to distances."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastreid_ext.functional.beta_norm import beta_normalize
from fastreid_ext.functional.distances import cosine_distance, euclidean_distance, normalize


def by_hand(features: Tensor, beta: float, parts: list[int]) -> Tensor:
    rows = []
    for row in features.tolist():
        values: list[float] = []
        for width in parts:
            member, row = row[:width], row[width:]
            length = math.sqrt(sum(value * value for value in member))
            values += [(value / length if length else 0.0) + beta * value for value in member]
        rows.append(values)
    return torch.tensor(rows, dtype=features.dtype)


@pytest.mark.parametrize("parts", [[6], [2, 4], [1, 2, 3]])
@pytest.mark.parametrize("beta", [0.0, 0.004, 1.0])
def test_is_the_formula(beta: float, parts: list[int]) -> None:
    features = torch.randn(5, 6, dtype=torch.float64) * torch.logspace(-3, 3, 5, dtype=torch.float64)[:, None]
    features[2] = 0
    features[3, :2] = 0
    before = features.clone()
    found = beta_normalize(features, beta, parts if len(parts) > 1 else ())
    torch.testing.assert_close(found, by_hand(features, beta, parts))
    assert torch.equal(features, before)
    assert not found[2].any()


def test_directions_stay_and_lengths_count() -> None:
    features = torch.randn(20, 3, dtype=torch.float64) * torch.rand(20, 1, dtype=torch.float64) * 100
    some = beta_normalize(features, 0.01)
    torch.testing.assert_close(cosine_distance(some, some), cosine_distance(features, features))
    torch.testing.assert_close(beta_normalize(features, 0.0), normalize(features))
    order, without = (euclidean_distance(x, x).argsort(dim=1) for x in (some, normalize(features)))
    assert not torch.equal(order, without)


def test_parts_have_equal_say() -> None:
    one, other = torch.randn(4, 3), 1000 * torch.randn(4, 5)
    found = beta_normalize(torch.cat([one, other], dim=1), 0.0, (3, 5))
    torch.testing.assert_close(found, torch.cat([normalize(one), normalize(other)], dim=1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype) -> None:
    # The sum of squares overflows float16.
    features = torch.full((2, 64), 1000.0, dtype=dtype)
    found = beta_normalize(features, 0.5)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, torch.full((2, 64), 0.125) + 0.5 * features.float())


def test_parts_must_add_up() -> None:
    with pytest.raises(ValueError, match=r"parts \[2, 3\] add up to 5, but features have 6 dimensions"):
        beta_normalize(torch.ones(1, 6), 0.0, (2, 3))
