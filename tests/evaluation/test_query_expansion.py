"""Query expansion against a loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreid_ext.evaluation import average_query_expansion, rank_metrics


def draw(images: int, seed: int = 0) -> Tensor:
    return torch.randn(images, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow(features: list[list[float]], k: int, alpha: float) -> list[list[float]]:
    def cosine(a: list[float], b: list[float]) -> float:
        product = sum(x * y for x, y in zip(a, b, strict=True))
        return product / (sum(x * x for x in a) ** 0.5 * sum(x * x for x in b) ** 0.5)

    expanded = []
    for feature in features:
        similarities = [(1.0 if other is feature else cosine(feature, other), other) for other in features]
        nearest = sorted(similarities, key=lambda item: -item[0])[:k]
        weights = [max(similarity, 0) ** alpha for similarity, _ in nearest]
        sums = [sum(w * other[d] for w, (_, other) in zip(weights, nearest, strict=True)) for d in range(len(feature))]
        expanded.append([value / k for value in sums])
    return expanded


@pytest.mark.parametrize(("k", "alpha", "times"), [(1, 3.0, 1), (5, 3.0, 1), (5, 0.0, 1), (30, 1.5, 1), (4, 2.0, 3)])
def test_equals_a_loop(k: int, alpha: float, times: int) -> None:
    features = draw(30)
    expected = features.tolist()
    for _ in range(times):
        expected = slow(expected, k, alpha)
    query, gallery = average_query_expansion(features[:8], features[8:], k=k, alpha=alpha, times=times)
    torch.testing.assert_close(torch.cat([query, gallery]), torch.tensor(expected, dtype=torch.float64))


def test_queries_that_are_the_gallery_count_once() -> None:
    features = draw(30)
    query, gallery = average_query_expansion(features, k=4)
    assert torch.equal(query, gallery)
    assert torch.equal(query, torch.cat(average_query_expansion(features[:8], features[8:], k=4)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    features = draw(30).to(dtype)
    before = features.clone()
    query, _ = average_query_expansion(features[:8], features[8:], k=1)
    assert query.dtype == torch.float32 and torch.equal(features, before)
    torch.testing.assert_close(query, features[:8].float())


def test_finds_more_in_clusters() -> None:
    generator = torch.Generator().manual_seed(7)
    pids = torch.arange(300) % 10
    features = torch.randn(10, 16, generator=generator)[pids] + 1.3 * torch.randn(300, 16, generator=generator)
    labels = (pids[:60], pids[60:], [0] * 60, [1] * 240)
    plain = rank_metrics(features[:60], features[60:], *labels)
    expanded = rank_metrics(*average_query_expansion(features[:60], features[60:]), *labels)
    assert expanded.mAP > plain.mAP + 0.05


def test_refuses() -> None:
    features = draw(30)
    with pytest.raises(ValueError, match="k must be between 1 and the number of images, 30; got 31"):
        average_query_expansion(features[:8], features[8:], k=31)
    with pytest.raises(ValueError, match="alpha must be a number not below 0, and times at least 1; got -1 and 1"):
        average_query_expansion(features[:8], features[8:], alpha=-1)
    with pytest.raises(ValueError, match="and times at least 1; got"):
        average_query_expansion(features[:8], features[8:], times=0)
