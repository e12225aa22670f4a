"""Re-ranking against dense loops written from the paper, from its authors' code and from FastReID's rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastreid_ext.evaluation import k_reciprocal_rerank, rank_metrics
from fastreid_ext.evaluation import neighbours as neighbours_module
from fastreid_ext.evaluation.rerank import reranked_distances


def draw(images: int, dim: int, clusters: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if not clusters:
        return torch.randn(images, dim, generator=generator)
    centres = torch.randn(clusters, dim, generator=generator)
    return centres[torch.randint(clusters, (images,), generator=generator)] + 0.5 * torch.randn(
        images, dim, generator=generator
    )


def all_distances(features: Tensor, metric: str) -> np.ndarray:
    """In float64: 1 - cosine, or squared Euclidean; 0 to itself."""
    x = features.double().numpy()
    if metric == "cosine":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        distances = 1 - x @ x.T
    else:
        distances = ((x[:, None] - x[None]) ** 2).sum(2)
    distances = distances.clip(0)
    np.fill_diagonal(distances, 0)
    return distances


def encode(distances: np.ndarray, order: np.ndarray, sizes: tuple[int, int], metric: str, variant: str) -> np.ndarray:
    images = len(distances)

    def reciprocal(p: int, k: int) -> set[int]:
        return {g for g in order[p, :k] if p in order[g, :k]}

    large, small = ([reciprocal(p, k) for p in range(images)] for k in sizes)
    encoding = np.zeros((images, images))
    for p in range(images):
        members = set(large[p])
        for q in large[p]:
            overlap, needed = len(large[p] & small[q]), 2 / 3 * len(small[q])
            if overlap > needed + 1e-9 or (variant == "paper" and overlap >= needed - 1e-9):
                members |= small[q]
        for g in members:
            # FastReID: squared distances of unit vectors, that is 2 - 2 cos.
            d = 2 * distances[p, g] if variant == "fastreid" and metric == "cosine" else distances[p, g]
            encoding[p, g] = np.exp(-d)
        if variant != "paper":
            encoding[p] /= encoding[p].sum()
    return encoding


def dense(features: Tensor, queries: int, k1: int, k2: int, share: float, metric: str, variant: str) -> np.ndarray:
    """Sets and sums as the paper has them, image by image."""
    distances = all_distances(features, metric)
    images = len(distances)
    if variant == "released":
        distances = distances / distances.max(axis=1, keepdims=True)
    order = distances.argsort(axis=1, kind="stable")
    # N(p, k): the paper's galleries do not hold the probe, so k others; FastReID's k hold it.
    near = k1 if variant == "fastreid" else k1 + 1
    half = min(round(k1 / 2) + 1, near)

    encoding = encode(distances, order, (near, half), metric, variant)
    if k2 > 1:
        averaged = min(k2, near) if variant == "fastreid" else k2
        encoding = np.stack([encoding[order[p, :averaged]].mean(axis=0) for p in range(images)])
    result = np.empty((queries, images - queries))
    for q in range(queries):
        for g in range(queries, images):
            common = np.minimum(encoding[q], encoding[g]).sum()
            either = np.maximum(encoding[q], encoding[g]).sum()
            result[q, g - queries] = (1 - share) * (1 - common / either) + share * distances[q, g]
    return result


def is_clear(features: Tensor, metric: str, depth: int) -> bool:
    """No two of an image's nearest so close to each other that rounding may exchange them."""
    nearest = np.sort(all_distances(features, metric), axis=1)[:, : depth + 1]
    return bool((np.diff(nearest, axis=1) > 2e-6).all())


CASES = [
    (metric, variant, clusters, k1, k2)
    for metric in ("cosine", "euclidean")
    for variant in ("paper", "released", "fastreid")
    for clusters in (0, 6)
    for k1, k2 in ((20, 6), (5, 1), (1, 2), (7, 9))
]


@pytest.mark.parametrize(("metric", "variant", "clusters", "k1", "k2"), CASES)
def test_equals_the_dense_form(metric: str, variant: str, clusters: int, k1: int, k2: int) -> None:
    """Eight sets of images for each of 48 settings."""
    compared = 0
    for seed in range(30):
        features = draw(40 + 2 * seed, 12, clusters, seed) * (1 if metric == "cosine" else 0.2)
        if not is_clear(features, metric, max(k1 + 1, k2)):
            continue
        queries = 5 + seed
        ours = k_reciprocal_rerank(
            features[:queries],
            features[queries:],
            k1=k1,
            k2=k2,
            metric=metric,
            variant=variant,  # type: ignore[arg-type]
        )
        expected = dense(features, queries, k1, k2, 0.3, metric, variant)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=1e-5)
        compared += 1
        if compared == 8:
            return
    pytest.fail(f"only {compared} of 30 sets have no near ties")


@pytest.mark.parametrize("share", [0.0, 0.85, 1.0])
def test_share_of_the_distance_before(share: float) -> None:
    features = draw(50, 12, 5, 1)
    ours = k_reciprocal_rerank(features[:9], features[9:], k1=8, k2=3, lambda_value=share)
    np.testing.assert_allclose(ours.numpy(), dense(features, 9, 8, 3, share, "cosine", "paper"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types(dtype: torch.dtype) -> None:
    features = draw(50, 12, 5, 2).to(dtype)
    ours = k_reciprocal_rerank(features[:9], features[9:], k1=8, k2=3)
    assert ours.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    wide = features.double()
    expected = k_reciprocal_rerank(wide[:9], wide[9:], k1=8, k2=3)
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=1e-5)


def test_queries_that_are_the_gallery_count_once() -> None:
    features = draw(50, 12, 5, 3)
    ours = k_reciprocal_rerank(features, k1=8, k2=3)
    torch.testing.assert_close(ours[:20, 20:], k_reciprocal_rerank(features[:20], features[20:], k1=8, k2=3))
    # Itself at distance 0, encoded alike.
    torch.testing.assert_close(ours.diagonal(), torch.zeros(50), rtol=0, atol=1e-6)


def test_order_of_images_does_not_matter() -> None:
    features = draw(60, 12, 5, 4)
    order = torch.randperm(45, generator=torch.Generator().manual_seed(0))
    ours = k_reciprocal_rerank(features[:15], features[15:], k1=8)
    permuted = k_reciprocal_rerank(features[:15], features[15:][order], k1=8)
    torch.testing.assert_close(permuted, ours[:, order], rtol=0, atol=1e-6)


def test_copies_and_zero_features_are_finite() -> None:
    features = draw(40, 8, 3, 5)
    features[:6] = features[6]
    features[20:23] = 0
    for metric in ("cosine", "euclidean"):
        for variant in ("paper", "released", "fastreid"):
            ours = k_reciprocal_rerank(features[:10], features[10:], k1=5, k2=3, metric=metric, variant=variant)  # type: ignore[arg-type]
            assert ours.isfinite().all() and ours.amin() > -1e-6
            same = torch.ones(40, 8)
            ours = k_reciprocal_rerank(same[:10], same[10:], k1=5, k2=1, metric=metric, variant=variant)  # type: ignore[arg-type]
            assert ours.isfinite().all() and ours.amin() > -1e-6


@pytest.mark.parametrize("variant", ["paper", "released", "fastreid"])
@pytest.mark.filterwarnings("error")
def test_weights_of_far_images_that_vanish(variant: Any) -> None:
    """Squared distances of thousands, whose exponentials are 0."""
    features = draw(60, 64, 0, 8) * 10
    ours = k_reciprocal_rerank(features[:20], features[20:], k1=20, k2=1, metric="euclidean", variant=variant)
    expected = dense(features, 20, 20, 1, 0.3, "euclidean", variant)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_rows_on_demand_are_the_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_module, "_TILE", 16)
    features = draw(90, 12, 6, 6)
    whole = k_reciprocal_rerank(features[:20], features[20:], k1=8)
    source = reranked_distances(features[:20], features[20:], k1=8)
    rows = source.rows(slice(3, 9), torch.empty(6, 70))
    assert source.shape == (20, 70) and torch.equal(rows, whole[3:9])
    pids = torch.arange(90) % 6
    by_rows = rank_metrics(None, None, pids[:20], pids[20:], [0] * 20, [1] * 70, distances=source, block_size=7)
    by_matrix = rank_metrics(None, None, pids[:20], pids[20:], [0] * 20, [1] * 70, distances=whole)
    assert torch.equal(by_rows.ap, by_matrix.ap)


def test_finds_more_in_clusters_than_distances_do() -> None:
    generator = torch.Generator().manual_seed(7)
    pids = torch.arange(300) % 10
    features = torch.randn(10, 16, generator=generator)[pids] + 1.3 * torch.randn(300, 16, generator=generator)
    split: dict[str, Any] = {"query_camids": [0] * 60, "gallery_camids": [1] * 240}
    plain = rank_metrics(features[:60], features[60:], pids[:60], pids[60:], **split)
    distances = k_reciprocal_rerank(features[:60], features[60:])
    assert rank_metrics(None, None, pids[:60], pids[60:], **split, distances=distances).mAP > plain.mAP + 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k1": 0}, "k1 must be between 1 and the 20 images of the gallery; got 0"),
        ({"k1": 21}, "k1 must be between 1 and the 20 images of the gallery; got 21"),
        ({"k2": 0}, "k2 must be between 1 and the number of images, 30; got 0"),
        ({"k2": 31}, "k2 must be between"),
        ({"lambda_value": 1.2}, "lambda_value must be between 0 and 1; got 1.2"),
        ({"variant": "original"}, "unknown variant 'original': choose one of paper, released, fastreid"),
        ({"metric": "manhattan"}, "unknown metric"),
    ],
)
def test_refuses(options: dict[str, Any], message: str) -> None:
    features = draw(30, 4, 0, 0)
    with pytest.raises(ValueError, match=message):
        k_reciprocal_rerank(features[:10], features[10:], **options)


def test_refuses_bad_features() -> None:
    features = draw(30, 4, 0, 0)
    with pytest.raises(ValueError, match="nothing to rank"):
        k_reciprocal_rerank(features[:0], features)
    with pytest.raises(ValueError, match="same number of columns"):
        k_reciprocal_rerank(features[:5, :3], features)
    features[3] = torch.nan
    with pytest.raises(ValueError, match=r"query_features hold NaN or Inf in 1 row\(s\): 3"):
        k_reciprocal_rerank(features[:5], features[5:], k1=5)
