"""`roc_curve` against loops over pairs, scikit-learn, and its own exact form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc
from sklearn.metrics import roc_curve as sklearn_roc_curve
from torch import Tensor

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation.rank_inputs import read_distances
from fastreid_ext.evaluation.roc import RocCurve, roc_curve
from fastreid_ext.functional.distances import cosine_distance, euclidean_distance

ANY_CAMERA = Protocol(camera_rule=False)
RATES = (1e-4, 1e-3, 1e-2, 0.1, 0.3, 0.5, 0.99)


@dataclass
class Case:
    """A small test set, with distances instead of features."""

    distances: Tensor
    query_pids: list[int]
    gallery_pids: list[int]
    query_camids: list[int]
    gallery_camids: list[int]
    protocol: Protocol

    def run(self, **arguments: Any) -> RocCurve:
        labels = self.query_pids, self.gallery_pids, self.query_camids, self.gallery_camids
        arguments = {"distances": self.distances, "protocol": self.protocol, **arguments}
        return roc_curve(None, None, *labels, **arguments)


def slow_pairs(case: Case) -> tuple[list[float], list[float]]:
    """Distances of genuine and of impostor pairs, by the definition."""
    genuine, impostor = [], []
    for query, row in enumerate(case.distances.tolist()):
        for item, distance in enumerate(row):
            pid, other = case.query_pids[query], case.gallery_pids[item]
            if -1 in (pid, other) or (case.protocol.query_is_gallery and query == item):
                continue
            if pid != other:
                impostor.append(distance)
            elif not (case.protocol.camera_rule and case.query_camids[query] == case.gallery_camids[item]):
                genuine.append(distance)
    return genuine, impostor


def slow_tpr(genuine: list[float], impostor: list[float], fpr: float) -> float:
    best = 0.0
    for threshold in {*genuine, *impostor}:
        if sum(distance <= threshold for distance in impostor) / len(impostor) <= fpr:
            best = max(best, sum(distance <= threshold for distance in genuine) / len(genuine))
    return best


@st.composite
def cases(draw: st.DrawFn) -> Case:
    same_images = draw(st.booleans())
    gallery = draw(st.integers(4, 20))
    queries = gallery if same_images else draw(st.integers(2, 6))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    gallery_pids = [*random.integers(-1, 4, gallery - 3).tolist(), 0, 0, 1]
    query_pids = gallery_pids if same_images else [*random.integers(-1, 5, queries - 1).tolist(), 0]
    gallery_camids = [*random.integers(0, 3, gallery - 3).tolist(), 0, 1, 0]
    query_camids = gallery_camids if same_images else random.integers(0, 3, queries).tolist()
    distances = torch.from_numpy(random.integers(-2, draw(st.sampled_from([1, 4, 1000])), (queries, gallery)))
    protocol = Protocol(camera_rule=draw(st.booleans()), query_is_gallery=same_images)
    return Case(distances.float(), query_pids, gallery_pids, query_camids, gallery_camids, protocol)


def clustered(queries: int = 60, gallery: int = 200, pids: int = 12, dtype: torch.dtype = torch.float32) -> list[Any]:
    """Features and identities whose genuine and impostor distances overlap."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(pids, 16, generator=generator)
    query_pids, gallery_pids = (torch.randint(0, pids, (n,), generator=generator) for n in (queries, gallery))
    features = [centres[ids] + torch.randn(len(ids), 16, generator=generator) for ids in (query_pids, gallery_pids)]
    return [*(values.to(dtype) for values in features), query_pids, gallery_pids]


def sorted_case() -> Case:
    """Genuine pairs at 0.1, 0.3, 0.5; impostor pairs at 0.2, 0.3, 0.4, 0.6."""
    distances = torch.tensor([[0.1, 0.3, 0.5, 0.2, 0.3, 0.4, 0.6]])
    return Case(distances, [7], [7, 7, 7, 1, 2, 3, 0], [0], [0, 1, 2, 0, 0, 0, 0], ANY_CAMERA)


@pytest.mark.parametrize("exact", [True, False])
def test_by_hand(exact: bool) -> None:
    curve = sorted_case().run(exact=exact)
    assert (curve.num_genuine, curve.num_impostor, curve.exact) == (3, 4, exact)
    assert curve.fpr.tolist() == [0, 0, 0.25, 0.5, 0.75, 0.75, 1]
    assert curve.tpr.tolist() == pytest.approx([0, 1 / 3, 1 / 3, 2 / 3, 2 / 3, 1, 1])
    np.testing.assert_allclose(curve.thresholds, [-np.inf, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6], rtol=2**-15)
    assert [curve.tpr_at(fpr) for fpr in (0.1, 0.25, 0.49, 0.5, 0.8)] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 2 / 3, 1])


def test_error_is_the_share_of_genuine_pairs_in_the_bin_of_the_threshold() -> None:
    case = sorted_case()
    assert case.run(exact=False).error_at(0.25) == pytest.approx(1 / 3)  # a genuine and an impostor pair share 0.3
    assert case.run(exact=False).error_at(0.1) == 0
    assert case.run(exact=True).error_at(0.25) == 0


def test_threshold_gives_the_stated_rates() -> None:
    curve = sorted_case().run()
    assert curve.threshold_at(0.5) == pytest.approx(0.3)
    assert replace(sorted_case(), gallery_pids=[1, 7, 7, 7, 2, 3, 0]).run().threshold_at(0.1) == -np.inf


def test_junk_by_hand() -> None:
    curve = replace(sorted_case(), gallery_pids=[7, 7, 7, -1, 2, 3, 0], protocol=Protocol()).run()
    assert (curve.num_genuine, curve.num_impostor) == (2, 3)  # 0.1 is of the query's camera, 0.2 junk
    assert curve.tpr_at(0.2) == 0


@given(cases())
@settings(max_examples=60, deadline=None)
def test_equals_loops(case: Case) -> None:
    genuine, impostor = slow_pairs(case)
    for exact in (True, False):  # integers below 2^15 have bins of their own
        if not genuine or not impostor:
            with pytest.raises(ValueError, match="there is no"):
                case.run(exact=exact)
            continue
        curve = case.run(exact=exact, block_size=3)
        assert (curve.num_genuine, curve.num_impostor) == (len(genuine), len(impostor))
        assert [curve.tpr_at(fpr) for fpr in RATES] == [slow_tpr(genuine, impostor, fpr) for fpr in RATES]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_equals_scikit_learn(metric: Any) -> None:
    query, gallery, query_pids, gallery_pids = clustered()
    curve = roc_curve(query, gallery, query_pids, gallery_pids, metric=metric, protocol=ANY_CAMERA)
    slow = cosine_distance if metric == "cosine" else euclidean_distance
    same = (query_pids[:, None] == gallery_pids).flatten().numpy()
    fpr, tpr, _ = sklearn_roc_curve(same, -slow(query.double(), gallery.double()).flatten(), drop_intermediate=False)
    for rate in RATES:
        assert curve.tpr_at(rate) == pytest.approx(tpr[fpr <= rate].max(), abs=1e-12)
    assert auc(curve.fpr, curve.tpr) == pytest.approx(auc(fpr, tpr), abs=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_histogram_is_within_its_error_of_the_exact_form(metric: Any, dtype: torch.dtype) -> None:
    inputs = clustered(300, 900, 40, dtype)
    exact = roc_curve(*inputs, metric=metric, protocol=ANY_CAMERA, exact=True)
    binned = roc_curve(*inputs, metric=metric, protocol=ANY_CAMERA, exact=False)
    assert len(binned.tpr) < len(exact.tpr)
    for fpr in RATES:
        missing = exact.tpr_at(fpr) - binned.tpr_at(fpr)
        assert 0 <= missing <= binned.error_at(fpr) < 1e-3
    assert (binned.num_genuine, binned.num_impostor) == (exact.num_genuine, exact.num_impostor)


def test_error_of_coarse_distances_is_told() -> None:
    # Distances too close for the bins: all share one, and nothing is certain.
    distances = 1 + 1e-6 * torch.arange(8.0).reshape(2, 4)
    case = Case(distances, [0, 1], [0, 0, 1, 1], [0, 0], [1, 1, 1, 1], ANY_CAMERA)
    exact, binned = case.run(exact=True), case.run(exact=False)
    assert (exact.tpr_at(0.3), binned.tpr_at(0.3), binned.error_at(0.3)) == (0.5, 0, 1)


def test_no_difference_by_order_blocks_or_threads() -> None:
    query, gallery, query_pids, gallery_pids = clustered()
    distances = cosine_distance(query, gallery)
    order = torch.randperm(len(gallery_pids), generator=torch.Generator().manual_seed(1))
    for exact in (True, False):
        plain = roc_curve(
            None, None, query_pids, gallery_pids, distances=distances, protocol=ANY_CAMERA, exact=exact, block_size=7
        )
        mixed = roc_curve(
            None,
            None,
            query_pids.flip(0),
            gallery_pids[order],
            distances=distances.flip(0)[:, order],
            protocol=ANY_CAMERA,
            exact=exact,
        )
        for name in ("thresholds", "tpr", "fpr"):
            assert getattr(plain, name).equal(getattr(mixed, name))


def test_inputs_stay_as_they_are() -> None:
    case = sorted_case()
    before = case.distances.clone()
    case.run()
    assert case.distances.equal(before)


def test_distances_made_on_demand() -> None:
    case = sorted_case()
    source = read_distances(None, None, case.distances, "cosine")
    assert case.run(distances=source).tpr.equal(case.run().tpr)


def test_small_sets_are_exact_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted_case().run().exact
    monkeypatch.setattr("fastreid_ext.evaluation.roc._EXACT_PAIRS", 6)
    assert not sorted_case().run().exact


def test_thinned_curve_is_short_and_a_lower_bound() -> None:
    curve = roc_curve(*clustered(200, 500), protocol=ANY_CAMERA)
    thin = curve.thinned(200)
    assert len(thin.tpr) <= 202
    assert not thin.exact
    assert (float(thin.tpr[0]), float(thin.fpr[0]), float(thin.tpr[-1]), float(thin.fpr[-1])) == (0, 0, 1, 1)
    for fpr in RATES:
        assert 0 <= curve.tpr_at(fpr) - thin.tpr_at(fpr) <= thin.error_at(fpr) < 0.03
    assert curve.thinned(10**6) is curve
    with pytest.raises(ValueError, match="at least 2 points"):
        curve.thinned(1)


@pytest.mark.parametrize("fpr", [0, 1, -0.1, 2, float("nan")])
def test_rates_out_of_range(fpr: float) -> None:
    curve = sorted_case().run()
    for look_up in (curve.tpr_at, curve.error_at, curve.threshold_at):
        with pytest.raises(ValueError, match="between 0 and 1"):
            look_up(fpr)


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"no genuine pair.*camera_rule=False"):
        replace(sorted_case(), query_pids=[8]).run()
    with pytest.raises(ValueError, match="no impostor pair"):
        replace(sorted_case(), gallery_pids=[7, 7, 7, -1, -1, -1, -1]).run()
    with pytest.raises(ValueError, match="no genuine pair"):
        replace(sorted_case(), query_pids=[-1]).run(exact=False)
    with pytest.raises(ValueError, match="block_size"):
        sorted_case().run(block_size=0)
    with pytest.raises(ValueError, match="camids are missing"):
        roc_curve(*clustered())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("exact", [True, False])
def test_cuda(exact: bool) -> None:
    inputs = clustered()
    on_cpu = roc_curve(*inputs, protocol=ANY_CAMERA, exact=exact)
    on_gpu = roc_curve(*(tensor.cuda() for tensor in inputs), protocol=ANY_CAMERA, exact=exact)
    assert (on_cpu.num_genuine, on_cpu.num_impostor) == (on_gpu.num_genuine, on_gpu.num_impostor)
    for fpr in RATES:
        assert on_gpu.tpr_at(fpr) == pytest.approx(on_cpu.tpr_at(fpr), abs=5e-3)
