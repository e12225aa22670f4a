"""`nmi` on clusters that are known, and against k-means written as a loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import normalized_mutual_info_score
from torch import Tensor

from fastreid_ext.data.protocol import JUNK_PID
from fastreid_ext.evaluation import clustering
from fastreid_ext.evaluation.clustering import nmi


def images(spread: float, number: int = 300, pids: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(pids, 16, generator=generator)
    ids = torch.arange(number) % pids
    return centres[ids] + spread * torch.randn(number, 16, generator=generator), ids


def test_separate_clusters_agree_with_identities() -> None:
    # Of more identities a random start may give one two centroids and two one.
    features, ids = images(0.01, pids=2)
    assert nmi(features, ids) == pytest.approx(1)


def test_random_identities_share_next_to_nothing() -> None:
    features, _ = images(1.0, number=2000)
    random = torch.randint(0, 10, (2000,), generator=torch.Generator().manual_seed(1))
    assert 0 < nmi(features, random) < 0.03


def test_score_is_scikit_learns_of_a_lloyd_iteration() -> None:
    """Each image belongs to the nearest mean, as a loop finds it from the same clusters."""
    features, ids = images(0.5)
    clusters = clustering._kmeans(features, 10, seed=3, iterations=100)
    means = torch.stack([features[clusters == k].mean(0) for k in range(10)])
    nearest = torch.tensor([int((image - means).square().sum(1).argmin()) for image in features])
    assert nearest.tolist() == clusters.tolist()
    score = nmi(features, ids, seed=3, iterations=100, metric="euclidean")
    assert score == pytest.approx(normalized_mutual_info_score(ids, nearest), abs=1e-12)


def test_same_seed_same_figure() -> None:
    features, ids = images(0.8)
    figures = [nmi(features, ids, seed=seed, iterations=3) for seed in (0, 0, 1, 2)]
    assert figures[0] == figures[1]
    assert len(set(figures)) > 1


def test_cosine_looks_at_directions_only() -> None:
    features, ids = images(0.3)
    lengths = torch.rand(len(features), 1, generator=torch.Generator().manual_seed(0)) * 100 + 0.1
    assert nmi(features * lengths, ids) == pytest.approx(nmi(features, ids), abs=1e-6)
    assert nmi(features * lengths, ids, metric="euclidean") < nmi(features, ids, metric="euclidean") - 0.1


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_types(dtype: torch.dtype) -> None:
    features, ids = images(0.3)
    features = features.half()
    assert nmi(features.to(dtype).numpy(), ids.tolist()) == nmi(features.float(), ids)


def test_names_of_identities_do_not_matter() -> None:
    features, ids = images(0.8)
    assert nmi(features, 1000 - 7 * ids) == pytest.approx(nmi(features, ids), abs=1e-12)


def test_junk_is_left_out() -> None:
    features, ids = images(0.8)
    ids[::5] = JUNK_PID
    kept = ids != JUNK_PID
    assert nmi(features, ids) == nmi(features[kept], ids[kept])


def test_all_images_train_the_clusters(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    # With 2 clusters faiss would by default take 512 of the images, and with 10 warn that they are few.
    import faiss

    trained: list[int] = []

    class Recorded(faiss.Kmeans):  # type: ignore[misc]  # faiss has no types
        def train(self, points: Any, *arguments: Any) -> Any:
            result = super().train(points, *arguments)
            trained.append(self.cp.max_points_per_centroid * self.k)
            return result

    monkeypatch.setattr(faiss, "Kmeans", Recorded)
    features, ids = images(0.5, number=600)
    nmi(features, ids, clusters=2)
    nmi(features[:60], ids[:60])
    assert trained[0] >= 600
    assert "WARNING" not in "".join(capfd.readouterr())


def test_inputs_stay_as_they_are() -> None:
    features, ids = images(0.5)
    before = features.clone()
    nmi(features, ids)
    assert features.equal(before)


def test_errors() -> None:
    features, ids = images(0.5, number=20)
    for clusters in (1, 21):
        with pytest.raises(ValueError, match=f"between 2 and the number of images, 20; got {clusters}"):
            nmi(features, ids, clusters=clusters)
    with pytest.raises(ValueError, match="at least 2 identities; got 1"):
        nmi(features, torch.zeros_like(ids))
    with pytest.raises(ValueError, match="at least 1 iteration"):
        nmi(features, ids, iterations=0)
    with pytest.raises(ValueError, match=r"one for each of the 20 images.*\(19,\)"):
        nmi(features, ids[1:])
    with pytest.raises(ValueError, match="pids must be integers"):
        nmi(features, ids.float())
    with pytest.raises(ValueError, match="floating-point matrix"):
        nmi(features[0], ids[:1])
    with pytest.raises(ValueError, match="unknown metric"):
        nmi(features, ids, metric="manhattan")  # type: ignore[arg-type]  # what a user may write
    features[[2, 5]] = torch.nan
    with pytest.raises(ValueError, match=r"features hold NaN or Inf in 2 row\(s\): 2, 5"):
        nmi(features, ids)


@pytest.mark.parametrize("package", ["faiss", "sklearn"])
def test_missing_package(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    plain = importlib.import_module

    def without(name: str) -> Any:
        if name.split(".")[0] == package:
            raise ImportError(name)
        return plain(name)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(ImportError, match=rf"'{package}'.*fastreid_ext\[cpu\]"):
        nmi(*images(0.5))


def test_as_many_clusters_as_images() -> None:
    features, ids = images(0.5, number=20)
    score = nmi(features, ids, clusters=20)
    assert score == pytest.approx(normalized_mutual_info_score(ids, np.arange(20)))
