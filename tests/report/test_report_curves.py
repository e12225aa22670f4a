"""Curves of a report against counts of all pairs."""

import numpy as np
import pytest
import torch

from fastreid_ext.evaluation import roc
from fastreid_ext.evaluation.feature_set import FeatureSet
from fastreid_ext.evaluation.nearest_images import NearestImages
from fastreid_ext.evaluation.rankings import Rankings
from fastreid_ext.report.curves import curves_of


@pytest.mark.parametrize("exact", [True, False])
def test_histograms_count_all_pairs(monkeypatch: pytest.MonkeyPatch, exact: bool) -> None:
    if not exact:
        monkeypatch.setattr(roc, "_EXACT_PAIRS", 0)
    values = torch.randn(80, 3)
    pids, camids = torch.randint(-1, 5, (80,)), torch.randint(0, 3, (80,))
    query, gallery = torch.arange(20), torch.arange(20, 80)
    features = FeatureSet("mine", values, pids, camids, [(query, gallery)])
    nearest = NearestImages(features, Rankings("euclidean"))
    whole = nearest.roc()
    drawn = curves_of(nearest.ranks(), whole)
    distances = torch.cdist(values[query], values[gallery]).square().double().numpy()
    same = pids[query, None] == pids[gallery]
    counted = (pids[query, None] != -1) & (pids[gallery] != -1) & ~(same & (camids[query, None] == camids[gallery]))
    assert (whole.exact, whole.num_genuine) == (exact, int((counted & same).sum()))
    # Rounding, that of bins included, may move a few pairs over an edge.
    for shares, pairs in ((drawn["genuine"], counted & same), (drawn["impostor"], counted & ~same)):
        # The ends are pairs themselves.
        edges = [-1, *drawn["edges"][1:-1], 1e9]
        expected, _ = np.histogram(distances[pairs.numpy()], edges)
        assert np.abs(np.cumsum(shares) - np.cumsum(expected / expected.sum())).max() < 1.5 / expected.sum()
        assert sum(shares) == pytest.approx(1, abs=1e-4)


def test_curves_begin_and_end_as_the_whole_ones() -> None:
    values, pids = torch.randn(300, 4), torch.arange(300) % 10
    features = FeatureSet("mine", values, pids, torch.arange(300) // 100, [(torch.arange(50), torch.arange(50, 300))])
    nearest = NearestImages(features, Rankings())
    ranks, whole = nearest.ranks(), nearest.roc()
    drawn = curves_of(ranks, whole)
    assert drawn["cmc"] == pytest.approx(ranks.cmc.tolist(), rel=1e-5) and len(drawn["cmc"]) == 50
    assert [drawn[name][0] for name in ("fpr", "tpr", "thresholds")] == [0, 0, None]  # type: ignore[literal-required]
    assert (drawn["fpr"][-1], drawn["tpr"][-1]) == (1, 1)
    assert 300 < len(drawn["fpr"]) == len(drawn["tpr"]) == len(drawn["thresholds"]) <= 402
    assert drawn["fpr"] == sorted(drawn["fpr"]) and drawn["tpr"] == sorted(drawn["tpr"])
    assert [len(drawn["edges"]), len(drawn["genuine"]), len(drawn["impostor"])] == [101, 100, 100]
    ends = [float(whole.thresholds[1]), float(whole.thresholds[-1])]
    assert [drawn["edges"][0], drawn["edges"][-1]] == pytest.approx(ends, rel=1e-5)


def test_a_collapsed_model_has_a_histogram() -> None:
    values, pids = torch.ones(20, 3), torch.arange(20) % 4
    features = FeatureSet("mine", values, pids, torch.arange(20) // 10, [(torch.arange(10), torch.arange(10, 20))])
    nearest = NearestImages(features, Rankings())
    drawn = curves_of(nearest.ranks(), nearest.roc())
    assert len(set(drawn["edges"])) == 101 and drawn["edges"] == sorted(drawn["edges"])
    assert max(drawn["genuine"]) == max(drawn["impostor"]) == 1
