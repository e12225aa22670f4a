"""`rank_metrics` against values worked out by hand and against a slow loop written from the definitions."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation import RankMetrics, rank_metrics
from fastreid_ext.evaluation.trials import SingleGalleryShot
from fastreid_ext.functional import positive_ranks as positive_ranks_module
from fastreid_ext.functional.distances import cosine_distance, euclidean_distance

ANY_CAMERA = Protocol(camera_rule=False)


@dataclass
class Case:
    """A small test set, with distances instead of features."""

    distances: Tensor
    query_pids: list[int]
    gallery_pids: list[int]
    query_camids: list[int]
    gallery_camids: list[int]
    protocol: Protocol
    max_rank: int = 10

    def run(self, **arguments: Any) -> RankMetrics:
        labels = self.query_pids, self.gallery_pids, self.query_camids, self.gallery_camids
        arguments = {"distances": self.distances, "protocol": self.protocol, "max_rank": self.max_rank, **arguments}
        return rank_metrics(None, None, *labels, **arguments)


def is_junk(case: Case, query: int, item: int) -> bool:
    pid, camid = case.query_pids[query], case.query_camids[query]
    seen = case.protocol.camera_rule and pid == case.gallery_pids[item] and camid == case.gallery_camids[item]
    itself = case.protocol.query_is_gallery and query == item
    return case.gallery_pids[item] == -1 or bool(seen) or itself


def slow_metrics(case: Case) -> tuple[list[float], list[float], list[int], list[float]]:
    """AP, INP and first rank of each query, and the CMC, by a stable sort of each row."""
    ap: list[float] = []
    inp: list[float] = []
    first: list[int] = []
    for query, row in enumerate(case.distances.numpy()):
        kept = [item for item in np.argsort(row, kind="stable") if not is_junk(case, query, item)]
        hits = [case.gallery_pids[item] == case.query_pids[query] for item in kept]
        ranks = [place for place, hit in enumerate(hits, start=1) if hit]
        ap.append(float(np.mean([sum(hits[:rank]) / rank for rank in ranks])) if ranks else np.nan)
        inp.append(len(ranks) / ranks[-1] if ranks else np.nan)
        first.append(ranks[0] if ranks else 0)
    valid = [rank for rank in first if rank]
    cmc = [float(np.mean([rank <= k for rank in valid])) if valid else np.nan for k in range(1, case.max_rank + 1)]
    return ap, inp, first, cmc


def assert_equals_slow(result: RankMetrics, case: Case) -> None:
    ap, inp, first, cmc = slow_metrics(case)
    assert result.first_match.tolist() == first
    np.testing.assert_allclose(result.ap, ap, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.inp, inp, rtol=0, atol=1e-12)
    np.testing.assert_allclose(result.cmc, cmc, rtol=0, atol=1e-12)
    assert result.mAP == pytest.approx(np.nanmean(ap), abs=1e-12)
    assert result.mINP == pytest.approx(np.nanmean(inp), abs=1e-12)
    assert (result.num_valid, result.num_invalid) == (len(first) - first.count(0), first.count(0))


@st.composite
def cases(draw: st.DrawFn, same_images: bool = False) -> Case:
    gallery = draw(st.integers(1, 24))
    queries = gallery if same_images else draw(st.integers(1, 6))
    levels = draw(st.sampled_from([1, 3, 1000]))
    seed = draw(st.integers(0, 2**31))
    random = np.random.default_rng(seed)
    identities = draw(st.integers(1, 5))
    gallery_pids = random.integers(-1, identities, gallery).tolist()
    query_pids = gallery_pids if same_images else random.integers(-1, identities + 1, queries).tolist()
    query_camids, gallery_camids = random.integers(0, 3, queries).tolist(), random.integers(0, 3, gallery).tolist()
    if same_images:
        query_camids = gallery_camids
    distances = torch.from_numpy(random.integers(0, levels, (queries, gallery)).astype(np.float32))
    protocol = Protocol(camera_rule=draw(st.booleans()), query_is_gallery=same_images, seed=seed)
    labels = query_pids, gallery_pids, query_camids, gallery_camids
    return Case(distances, *labels, protocol, max_rank=draw(st.sampled_from([1, 5, 30])))


def five_images() -> Case:
    """One query of pid 7 at camera 0; its rank list, nearest first, is item 2, 0, 4, 1, 3."""
    distances = torch.tensor([[0.2, 0.4, 0.1, 0.5, 0.3]])
    return Case(distances, [7], [7, 7, 3, 7, 9], [0], [1, 0, 1, 2, 1], ANY_CAMERA, max_rank=5)


def test_by_hand() -> None:
    result = five_images().run()  # the list reads: miss, hit, miss, hit, hit
    assert result.cmc.tolist() == [0, 1, 1, 1, 1]
    assert result.mAP == pytest.approx((1 / 2 + 2 / 4 + 3 / 5) / 3)
    assert result.mINP == pytest.approx(3 / 5)
    assert (result.first_match.tolist(), result.num_valid, result.num_invalid) == ([2], 1, 0)


def test_by_hand_with_camera_rule() -> None:
    result = replace(five_images(), protocol=Protocol()).run()  # item 1 is of the query's camera: miss, hit, miss, hit
    assert result.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)
    assert result.mINP == pytest.approx(2 / 4)


def test_by_hand_with_junk_and_distractors() -> None:
    junk = replace(five_images(), gallery_pids=[7, 7, -1, 7, 9]).run()  # hit, miss, hit, hit
    assert junk.mAP == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    distractor = replace(five_images(), gallery_pids=[7, 7, 0, 7, 9]).run()
    assert distractor.mAP == five_images().run().mAP


def test_by_hand_with_ties() -> None:
    tied = replace(five_images(), distances=torch.ones(1, 5)).run()  # gallery order: hit, hit, miss, hit, miss
    assert tied.mAP == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert tied.cmc[0] == 1


def test_by_hand_with_a_query_without_match() -> None:
    distances = five_images().distances.repeat(3, 1)
    case = replace(five_images(), distances=distances, query_pids=[5, 7, -1], query_camids=[0, 0, 0])
    result = case.run()
    assert (result.num_valid, result.num_invalid) == (1, 2)
    assert result.mAP == five_images().run().mAP
    assert result.ap.isnan().tolist() == result.inp.isnan().tolist() == [True, False, True]
    assert result.first_match.tolist() == [0, 2, 0]


def test_cmc_goes_on_behind_the_gallery() -> None:
    result = five_images().run(max_rank=8)
    assert result.cmc.tolist() == [0, 1, 1, 1, 1, 1, 1, 1]


@settings(max_examples=150, deadline=None)
@given(case=cases(), block_size=st.integers(1, 6))
def test_equals_slow_loop(case: Case, block_size: int) -> None:
    if not any(slow_metrics(case)[2]):
        with pytest.raises(ValueError, match=r"none of the \d+ queries has a match"):
            case.run(block_size=block_size)
    else:
        assert_equals_slow(case.run(block_size=block_size), case)


@settings(max_examples=60, deadline=None)
@given(case=cases(same_images=True), block_size=st.integers(1, 6))
def test_query_is_gallery_leaves_the_query_out(case: Case, block_size: int) -> None:
    if any(slow_metrics(case)[2]):
        assert_equals_slow(case.run(block_size=block_size), case)


def random_features(dtype: torch.dtype, queries: int = 9, gallery: int = 40) -> tuple[Tensor, Tensor, Case]:
    random = np.random.default_rng(3)
    labels = [random.integers(low, high, n).tolist() for low, high, n in ((0, 6, queries), (-1, 6, gallery))]
    cameras = [random.integers(0, 3, n).tolist() for n in (queries, gallery)]
    features = [torch.from_numpy(random.normal(size=(n, 8))).to(dtype) for n in (queries, gallery)]
    distances = torch.zeros(queries, gallery)
    return features[0], features[1], Case(distances, labels[0], labels[1], cameras[0], cameras[1], Protocol())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("block_size", [None, 1, 4])
def test_features(metric: str, dtype: torch.dtype, block_size: int | None) -> None:
    query, gallery, case = random_features(dtype)
    function = cosine_distance if metric == "cosine" else euclidean_distance
    case.distances = function(query.double(), gallery.double())
    arguments: dict[str, Any] = {"metric": metric, "max_rank": case.max_rank, "block_size": block_size}
    labels = case.query_pids, case.gallery_pids, case.query_camids, case.gallery_camids
    assert_equals_slow(rank_metrics(query, gallery, *labels, **arguments), case)


def test_counting_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positive_ranks_module, "_COUNT_ELEMENTS", 100)
    _, _, case = random_features(torch.float32)
    case.distances = torch.arange(9 * 40).reshape(9, 40).float().mul(7).fmod(11)
    assert_equals_slow(case.run(), case)


def test_nothing_given_is_changed() -> None:
    query, gallery, case = random_features(torch.float32)
    case.distances = cosine_distance(query, gallery)
    before = query.clone(), gallery.clone(), case.distances.clone()
    case.run()
    labels = case.query_pids, case.gallery_pids, case.query_camids, case.gallery_camids
    rank_metrics(query, gallery, *labels, metric="euclidean")
    assert all(torch.equal(a, b) for a, b in zip(before, (query, gallery, case.distances), strict=True))


def test_numpy_arrays_are_taken() -> None:
    query, gallery, case = random_features(torch.float32)
    case.distances = cosine_distance(query, gallery)
    labels = (np.array(ids) for ids in (case.query_pids, case.gallery_pids, case.query_camids, case.gallery_camids))
    result = rank_metrics(query.numpy(), gallery.numpy(), *labels, max_rank=case.max_rank)
    assert_equals_slow(result, case)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("levels", [2, 50, 10**6])
def test_cuda_equals_cpu(levels: int) -> None:
    random = np.random.default_rng(levels)
    pids, camids = random.integers(-1, 40, 3000).tolist(), random.integers(0, 4, 3000).tolist()
    distances = torch.from_numpy(random.integers(0, levels, (50, 3000)).astype(np.float32))
    case = Case(distances, pids[:50], pids, camids[:50], camids, Protocol())
    assert_equals_slow(case.run(distances=distances.cuda()), case)


def slow_single_shot_cmc(case: Case, draws: int) -> list[float]:
    shot = SingleGalleryShot(torch.tensor(case.gallery_pids), draws, case.protocol.seed)
    ranks = []
    for query, row in enumerate(case.distances.tolist()):
        pid = case.query_pids[query]
        kept = [item for item in range(len(row)) if not is_junk(case, query, item)]
        if pid not in [case.gallery_pids[item] for item in kept]:
            continue
        for places in shot.places.tolist():
            drawn: dict[int, int] = {}
            for item in sorted(kept, key=lambda item: places[item]):
                drawn.setdefault(case.gallery_pids[item], item)
            in_order = sorted(drawn.values(), key=lambda item: (row[item], item))
            ranks.append(1 + in_order.index(drawn[pid]))
    return [float(np.mean([rank <= k for rank in ranks])) for k in range(1, case.max_rank + 1)]


@settings(max_examples=80, deadline=None)
@given(case=cases(), draws=st.integers(1, 4), block_size=st.integers(1, 6))
def test_single_gallery_shot(case: Case, draws: int, block_size: int) -> None:
    if not any(slow_metrics(case)[2]):
        return
    plain = case.run()
    case.protocol = replace(case.protocol, single_gallery_shot=draws)
    result = case.run(block_size=block_size)
    np.testing.assert_allclose(result.cmc, slow_single_shot_cmc(case, draws), rtol=0, atol=1e-12)
    assert (result.mAP, result.mINP) == (plain.mAP, plain.mINP)
    assert torch.equal(result.first_match, plain.first_match)


X = torch.eye(3)
P = [0, 1, 2]
BAD_FEATURES = X.clone()
BAD_FEATURES[1, 0], BAD_FEATURES[2, 2] = torch.nan, torch.inf
ERRORS: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
    ((X[:0], X, [], P), {}, "nothing to rank: 0 queries and 3 gallery images"),
    ((X, X[:0], P, []), {}, "nothing to rank: 3 queries and 0 gallery images"),
    ((X, X[:, :2], P, P), {}, "same number of columns; got 3 and 2"),
    ((X, X.double(), P, P), {}, "same type; got torch.float32 and torch.float64"),
    ((X[0], X, P, P), {}, r"query_features must be a floating-point matrix; got torch.float32 of shape \(3,\)"),
    ((X.long(), X, P, P), {}, "query_features must be a floating-point matrix; got torch.int64"),
    ((X, BAD_FEATURES, P, P), {}, r"gallery_features hold NaN or Inf in 2 row\(s\): 1, 2\."),
    (
        (X.mul(torch.nan).repeat(9, 1), X, P, P),
        {},
        r"query_features hold NaN or Inf in 27 row\(s\): 0, 1, 2, 3, 4, \.\.\.",
    ),
    (
        (None, None, P, P),
        {"distances": BAD_FEATURES, "block_size": 2},
        r"distances hold NaN or Inf in 2 row\(s\): 1, 2\.",
    ),
    ((None, None, P, P), {"distances": X[1:]}, r"one entry for each of the 2 images"),
    ((X, X * 1e30, P, P), {"metric": "euclidean"}, "features are so large that distances between them overflow"),
    ((X[:, :0], X[:, :0], P, P), {}, r"query_features have no columns; got shape \(3, 0\)"),
    ((X, X, P[:2], P), {}, r"query_pids must have one entry for each of the 3 images; got shape \(2,\)"),
    ((X, X, P, P, P, P[:1]), {"protocol": Protocol()}, "gallery_camids must have one entry"),
    ((X, X, P, [0.0, 1.0, 2.0]), {}, "gallery_pids must be integers; got torch.float32"),
    ((X, X, P, P), {"protocol": Protocol()}, "camera rule is on, but query_camids or gallery_camids are missing"),
    ((X, X, P, P), {"metric": "manhattan"}, "unknown metric 'manhattan'"),
    ((X, X, P, P), {"distances": X}, "got features and distances"),
    ((X, None, P, P), {}, "both needed"),
    ((X, X, P, P), {"max_rank": 0}, "max_rank and block_size must be at least 1"),
    ((X, X, P, [3, 4, 5]), {}, "none of the 3 queries has a match in the gallery.*number identities.*camera"),
    ((X, X, P, P, [0] * 3, [0] * 3), {"protocol": Protocol()}, "none of the 3 queries has a match"),
    ((X[:2], X, P[:2], P), {"protocol": Protocol(False, True)}, "got 2 queries and 3 gallery images"),
    ((X, X, P, P[::-1]), {"protocol": Protocol(False, True)}, "3 gallery images of other pids"),
]


@pytest.mark.parametrize(("arguments", "keywords", "message"), ERRORS)
def test_errors(arguments: tuple[Any, ...], keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"(?s){message}"):
        rank_metrics(*arguments, **{"protocol": ANY_CAMERA, **keywords})
