"""Re-ranking by way of an index against the exact one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from fastreid_ext.config import ConfigError, load_config
from fastreid_ext.evaluation.indexed_neighbours import indexed_neighbours
from fastreid_ext.evaluation.neighbours import nearest_neighbours
from fastreid_ext.evaluation.rankings import Rankings
from fastreid_ext.evaluation.rerank import k_reciprocal_rerank
from fastreid_ext.functional.distances import Metric
from fastreid_ext.index import Kind


def on_a_grid(images: int, dim: int = 5) -> Tensor:
    return torch.randint(-3, 4, (images, dim), generator=torch.Generator().manual_seed(0)).float()


def clustered(images: int = 700, dim: int = 24) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(40, dim, generator=generator)
    return centres[torch.arange(images) % 40] + 0.5 * torch.randn(images, dim, generator=generator)


@pytest.mark.parametrize("images", [1, 2, 90])
def test_flat_is_exact(images: int) -> None:
    # Many copies, of which each must find itself first.
    features, k = on_a_grid(images, dim=2), min(images, 12)
    found = indexed_neighbours(features, k, "flat", metric="euclidean")
    exact = nearest_neighbours(features, k, metric="euclidean")
    assert torch.equal(found.indices, exact.indices) and torch.equal(found.distances, exact.distances)
    assert found.farthest is None


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("variant", ["paper", "fastreid"])
def test_reranking_by_flat_is_the_exact_one(metric: Metric, variant: Any) -> None:
    features = clustered(200)
    options: dict[str, Any] = {"k1": 8, "k2": 3, "metric": metric, "variant": variant}
    exact = k_reciprocal_rerank(features[:40], features[40:], **options)
    torch.testing.assert_close(k_reciprocal_rerank(features[:40], features[40:], **options, index="flat"), exact)


@pytest.mark.parametrize("kind", ["ivf", "hnsw", "ivfpq"])
def test_approximate_ones_come_near(kind: Kind) -> None:
    features = clustered()
    found, exact = indexed_neighbours(features, 15, kind), nearest_neighbours(features, 15)
    assert torch.equal(found.indices[:, 0], torch.arange(700)) and not found.distances[:, 0].any()
    assert all(len(set(row)) == 15 for row in found.indices.tolist())
    assert (found.distances.diff(dim=1) >= 0).all()
    shared = (found.indices[:, :, None] == exact.indices[:, None]).any(1).float().mean()
    assert shared > 0.9
    reranked, plain = (k_reciprocal_rerank(features[:80], features[80:], k1=8, index=name) for name in (kind, ""))  # type: ignore[arg-type]
    assert (reranked - plain).abs().mean() < 0.02


def test_neighbourhoods_larger_than_lists_are_filled() -> None:
    features = clustered(80)
    found = indexed_neighbours(features, 60, "ivf")
    assert all(sorted(set(row)) == sorted(row) and min(row) >= 0 for row in found.indices.tolist())


def test_the_config_names_the_index() -> None:
    options = ["TEST.RERANK.ENABLED", True, "TEST.RERANK.INDEX", "hnsw"]
    reranking = Rankings.from_config(load_config("", options)).reranking
    assert reranking is not None and reranking["index"] == "hnsw"
    assert "index" not in (Rankings.from_config(load_config("", options[:2])).reranking or {"index": ""})
    with pytest.raises(ConfigError, match=r"TEST\.RERANK\.INDEX is 'tree'; choose one of"):
        load_config("", ["TEST.RERANK.INDEX", "tree"])
    with pytest.raises(ConfigError, match=r"needs the farthest image.*empty TEST\.RERANK\.INDEX"):
        load_config("", [*options, "TEST.RERANK.VARIANT", "released"])


def test_bad_arguments_are_refused() -> None:
    features = clustered(30)
    with pytest.raises(ValueError, match="variant released needs"):
        k_reciprocal_rerank(features[:5], features[5:], k1=4, variant="released", index="flat")
    with pytest.raises(ValueError, match="k must be between 1 and"):
        indexed_neighbours(features, 31, "flat")
