"""Retrieval metrics against pytorch-metric-learning and against loops over sorted rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pytorch_metric_learning.distances import LpDistance
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN
from torch import Tensor

from fastreid_ext.data.protocol import JUNK_PID
from fastreid_ext.evaluation.retrieval import RetrievalMetrics, recall_at_k, retrieval_metrics
from fastreid_ext.functional.distances import cosine_distance, euclidean_distance, normalize

KS = (1, 2, 4, 8, 1000)


def images(number: int, pids: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy features of random identities; some identities may have one image, or none."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(pids, 8, generator=torch.Generator().manual_seed(99))
    ids = torch.randint(0, pids, (number,), generator=generator)
    return centres[ids] + 0.8 * torch.randn(number, 8, generator=generator), ids


def slow_recall(distances: Tensor, query_pids: Tensor, gallery_pids: Tensor, itself: bool) -> dict[int, float]:
    found: dict[int, list[bool]] = {k: [] for k in KS}
    for query, row in enumerate(distances.numpy()):
        order = [item for item in np.argsort(row, kind="stable") if not (itself and item == query)]
        hits = [bool(gallery_pids[item] == query_pids[query]) for item in order]
        for k in KS:
            if any(hits):
                found[k].append(any(hits[:k]))
    return {k: float(np.mean(values)) for k, values in found.items()}


def peer(query: Tensor, query_pids: Tensor, *reference: Tensor) -> dict[str, float]:
    """The same metrics by pytorch-metric-learning, in squared Euclidean distance of the features as they are."""
    metrics = ("precision_at_1", "r_precision", "mean_average_precision_at_r")
    search = CustomKNN(LpDistance(normalize_embeddings=False, p=2, power=2))
    calculator = AccuracyCalculator(include=metrics, k="max_bin_count", device=torch.device("cpu"), knn_func=search)
    values: dict[str, float] = calculator.get_accuracy(query, query_pids, *reference)
    return values


def assert_equals_peer(result: RetrievalMetrics, values: dict[str, float]) -> None:
    assert result.recall[1] == pytest.approx(values["precision_at_1"], abs=1e-12)
    assert result.r_precision == pytest.approx(values["r_precision"], abs=1e-12)
    assert result.map_at_r == pytest.approx(values["mean_average_precision_at_r"], abs=1e-12)


@pytest.mark.parametrize(("number", "pids"), [(20, 3), (120, 40), (200, 10)])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_query_is_gallery_equals_peer(number: int, pids: int, metric: Any) -> None:
    features, ids = images(number, pids)
    as_compared = normalize(features) if metric == "cosine" else features
    assert_equals_peer(retrieval_metrics(features, ids, metric=metric), peer(as_compared, ids))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_query_and_gallery_equal_peer(metric: Any) -> None:
    (query, query_pids), (gallery, gallery_pids) = images(50, 20), images(70, 15, seed=1)
    result = retrieval_metrics(query, query_pids, gallery, gallery_pids, metric=metric)
    assert result.num_invalid > 0
    query, gallery = (normalize(query), normalize(gallery)) if metric == "cosine" else (query, gallery)
    assert_equals_peer(result, peer(query, query_pids, gallery, gallery_pids))


def test_recall_equals_loops() -> None:
    (query, query_pids), (gallery, gallery_pids) = images(60, 30), images(80, 25, seed=1)
    alone = recall_at_k(query, query_pids, ks=KS)
    assert alone == pytest.approx(slow_recall(cosine_distance(query, query), query_pids, query_pids, itself=True))
    apart = recall_at_k(query, query_pids, gallery, gallery_pids, ks=KS, metric="euclidean")
    expected = slow_recall(euclidean_distance(query, gallery), query_pids, gallery_pids, itself=False)
    assert apart == pytest.approx(expected)


def test_by_hand() -> None:
    # On a line: each image's neighbours by distance, itself left out.
    features, pids = torch.tensor([[0.0], [1.0], [3.0], [7.0], [20.0]]), [5, 6, 5, 5, 9]
    result = retrieval_metrics(features, pids, ks=(1, 2, 3), metric="euclidean")
    # 0: 6 5 5; 3: 6 5 5; 7: 5 6 5; the 6 and the 9 are alone.
    assert (result.num_valid, result.num_invalid) == (3, 2)
    assert result.recall == pytest.approx({1: 1 / 3, 2: 1, 3: 1})
    assert result.r_precision == pytest.approx((1 / 2 + 1 / 2 + 1 / 2) / 3)
    assert result.map_at_r == pytest.approx((1 / 4 + 1 / 4 + 1 / 2) / 3)


def test_copies_of_an_image_count() -> None:
    features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    assert recall_at_k(features, [0, 0, 1, 1]) == {1: 1, 2: 1, 4: 1, 8: 1}
    assert recall_at_k(features, [0, 1, 0, 1])[1] == 0


def test_junk_is_passed_over() -> None:
    gallery = torch.tensor([[0.0], [1.0], [2.0]])
    result = recall_at_k(torch.tensor([[0.0]]), [4], gallery, [JUNK_PID, 4, 5], ks=[1], metric="euclidean")
    assert result == {1: 1}


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_types(dtype: torch.dtype) -> None:
    features, ids = images(60, 10)
    features = features.half()
    assert retrieval_metrics(features.to(dtype), ids) == retrieval_metrics(features.float(), ids)


def test_order_does_not_matter() -> None:
    features, ids = images(60, 10)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    assert recall_at_k(features[order], ids[order]) == pytest.approx(recall_at_k(features, ids))


def test_errors() -> None:
    features, ids = images(10, 3)
    with pytest.raises(ValueError, match="belong together"):
        recall_at_k(features, ids, gallery_features=features)
    with pytest.raises(ValueError, match="belong together"):
        recall_at_k(features, ids, gallery_pids=ids)
    for ks in ((), (0, 1)):
        with pytest.raises(ValueError, match="each at least 1"):
            recall_at_k(features, ids, ks=ks)
    with pytest.raises(ValueError, match="none of the 10 queries has a match"):
        recall_at_k(features, range(10))
    features[3] = torch.nan
    with pytest.raises(ValueError, match=r"NaN or Inf in 1 row\(s\): 3"):
        recall_at_k(features, ids)
