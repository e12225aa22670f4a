"""Figures of a set of features: each ranking, each evaluator."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch

from fastreid_ext.config import load_config
from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation import (
    FeatureSet,
    average_query_expansion,
    k_reciprocal_rerank,
    nmi,
    rank_metrics,
    recall_at_k,
    roc_curve,
)
from fastreid_ext.evaluation.evaluator import evaluate_features, results_table
from fastreid_ext.evaluation.evaluators import EVALUATORS
from fastreid_ext.evaluation.rankings import Rankings


def feature_set(**changes: Any) -> FeatureSet:
    generator = torch.Generator().manual_seed(0)
    pids = torch.arange(120) % 10
    values = torch.randn(10, 8, generator=generator)[pids] + 0.9 * torch.randn(120, 8, generator=generator)
    split = torch.arange(30), torch.arange(30, 120)
    whole = FeatureSet(
        "Set", values, pids, torch.arange(120) % 4, [split], Protocol(), [f"{i}.jpg" for i in range(120)]
    )
    return replace(whole, **changes)


def own_gallery() -> FeatureSet:
    everything = torch.arange(120)
    return feature_set(trials=[(everything, everything)], protocol=Protocol(camera_rule=False, query_is_gallery=True))


def figures(features: FeatureSet, *options: Any) -> dict[str, Any]:
    return evaluate_features(load_config("", list(options)), [features])[features.name]


ALL = ("TEST.AQE.ENABLED", True, "TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 8, "TEST.ROC.ENABLED", True)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_each_ranking_is_that_of_the_functions(metric: Any) -> None:
    features = feature_set()
    ours = figures(features, *ALL, "TEST.METRIC", metric)
    query, gallery = features.values[:30], features.values[30:]
    expanded = average_query_expansion(query, gallery, k=5, alpha=3.0)
    labels = (features.pids[:30], features.pids[30:], features.camids[:30], features.camids[30:])

    def reranked(q: torch.Tensor, g: torch.Tensor) -> dict[str, Any]:
        distances = k_reciprocal_rerank(q, g, k1=8, k2=6, lambda_value=0.3, metric=metric)
        return {"query_features": None, "gallery_features": None, "distances": distances}

    plain = {"query_features": query, "gallery_features": gallery}
    both = {"query_features": expanded[0], "gallery_features": expanded[1]}
    expected = {"": plain, "aqe": both, "rerank": reranked(query, gallery), "aqe+rerank": reranked(*expanded)}
    assert list(ours["with"]) == ["aqe", "rerank", "aqe+rerank"]
    for name, ranking in expected.items():
        row = ours["with"][name] if name else ours
        names = ("query_pids", "gallery_pids", "query_camids", "gallery_camids")
        inputs = {**ranking, **dict(zip(names, labels, strict=True)), "metric": metric}
        ranks, curve = rank_metrics(**inputs), roc_curve(**inputs)
        assert row["mAP"] == pytest.approx(100 * ranks.mAP) and row["mINP"] == pytest.approx(100 * ranks.mINP)
        assert [row[f"Rank-{k}"] for k in (1, 5, 10)] == pytest.approx(
            [100 * ranks.cmc[k - 1].item() for k in (1, 5, 10)]
        )
        for key, fpr in (("TPR@FPR=1e-04", 1e-4), ("TPR@FPR=1e-03", 1e-3), ("TPR@FPR=1e-02", 1e-2)):
            assert row[key] == pytest.approx(100 * curve.tpr_at(fpr))
        assert row["queries"] == 30 and row["queries_without_match"] == 0
    assert ours["with"]["rerank"]["mAP"] > ours["mAP"]
    assert ours["gallery"] == 90 and ours["protocol"]["metric"] == metric


def test_nothing_but_the_plain_ranking_by_default() -> None:
    ours = figures(feature_set())
    assert "with" not in ours and not any("TPR" in name for name in ours)


def test_query_that_is_the_gallery_is_expanded_and_reranked_once() -> None:
    features = own_gallery()
    ours = figures(features, *ALL)
    labels = (features.pids, features.pids)
    distances = k_reciprocal_rerank(features.values, k1=8)
    expected = rank_metrics(None, None, *labels, protocol=features.protocol, distances=distances)
    assert ours["with"]["rerank"]["mAP"] == pytest.approx(100 * expected.mAP)
    expanded = average_query_expansion(features.values)
    assert ours["with"]["aqe"]["mAP"] == pytest.approx(
        100 * rank_metrics(*expanded, *labels, protocol=features.protocol).mAP
    )


RETRIEVAL = ("TEST.EVALUATOR", "RetrievalEvaluator", "TEST.RECALLS", [1, 3], "TEST.NMI.ENABLED", True)


def test_retrieval_of_a_set_that_is_its_own_gallery() -> None:
    features = own_gallery()
    ours = figures(features, *RETRIEVAL)
    recalls = recall_at_k(features.values, features.pids, ks=(1, 3))
    assert [ours["Recall@1"], ours["Recall@3"]] == pytest.approx([100 * recalls[1], 100 * recalls[3]])
    ranks = rank_metrics(*[features.values] * 2, *[features.pids] * 2, protocol=features.protocol)
    assert ours["MAP@R"] == pytest.approx(100 * ranks.ap_at_r.mean().item())
    assert ours["R-precision"] == pytest.approx(100 * ranks.r_precision.mean().item())
    assert ours["mAP"] == pytest.approx(100 * ranks.mAP)
    assert ours["NMI"] == pytest.approx(100 * nmi(features.values, features.pids))


def test_retrieval_with_a_gallery_clusters_query_and_gallery() -> None:
    features = feature_set(protocol=Protocol(camera_rule=False))
    ours = figures(features, *RETRIEVAL, "TEST.RERANK.ENABLED", True, "TEST.AQE.ENABLED", True)
    assert ours["NMI"] == pytest.approx(100 * nmi(features.values, features.pids))
    expanded = torch.cat(average_query_expansion(features.values[:30], features.values[30:]))
    assert ours["with"]["aqe"]["NMI"] == pytest.approx(100 * nmi(expanded, features.pids))
    # Re-ranking changes distances, and k-means works on features.
    assert "NMI" not in ours["with"]["rerank"]


def test_trials_are_averaged_and_their_queries_counted() -> None:
    one, two = torch.arange(30), torch.arange(40, 60)
    rest = [torch.tensor([i for i in range(120) if i not in part.tolist()]) for part in (one, two)]
    trials = [(one, rest[0]), (two, rest[1])]
    both = figures(feature_set(trials=trials), *ALL)
    single = [figures(feature_set(trials=[trial]), *ALL) for trial in trials]
    assert both["queries"] == 50
    assert both["mAP"] == pytest.approx((single[0]["mAP"] + single[1]["mAP"]) / 2)
    reranked = [row["with"]["rerank"]["mAP"] for row in single]
    assert both["with"]["rerank"]["mAP"] == pytest.approx(sum(reranked) / 2)


def test_one_table_with_a_row_for_each_ranking() -> None:
    results = {"Set": figures(feature_set(), *ALL), "Other": figures(own_gallery())}
    lines = results_table(results).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "Set",
        "Set + AQE",
        "Set + rerank",
        "Set + AQE + rerank",
        "Other",
    ]
    assert [cell.strip() for cell in lines[0].split("|")[2:7]] == ["mAP", "mINP", "Rank-1", "Rank-5", "Rank-10"]
    assert f"{results['Set']['with']['rerank']['mAP']:.1f}" in lines[4]


def test_features_that_are_not_finite_are_named() -> None:
    values = feature_set().values
    values[[3, 40, 41, 42, 43, 44]] = torch.nan
    with pytest.raises(ValueError, match=r"Set: the features of 6 images hold NaN or Inf: 3.jpg, 40.jpg, .*, \.\.\."):
        figures(feature_set(values=values))
    with pytest.raises(ValueError, match="of 6 images hold NaN or Inf: image 3, "):
        figures(feature_set(values=values, paths=()))


def test_an_empty_side_is_refused() -> None:
    empty = torch.arange(0)
    with pytest.raises(ValueError, match="0 readable query and 90 readable gallery images"):
        figures(feature_set(trials=[(empty, torch.arange(30, 120))]))
    with pytest.raises(ValueError, match="30 readable query and 0 readable gallery images"):
        figures(feature_set(trials=[(torch.arange(30), empty)]))


def test_images_that_would_find_themselves_are_refused() -> None:
    overlapping = [(torch.arange(30), torch.arange(28, 120))]
    with pytest.raises(ValueError, match="Set: 2 images are query and gallery and would find themselves"):
        figures(feature_set(trials=overlapping, protocol=Protocol(camera_rule=False)))
    assert figures(feature_set(trials=overlapping))["queries"] == 30


def test_collapsed_features_are_warned_of(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("fastreid_ext"), "propagate", True)
    values = feature_set().values
    values[:7] = 0
    figures(feature_set(values=values))
    assert "Set: the features of 7 images have length 0, thus no direction" in caplog.text
    figures(feature_set(values=torch.ones(120, 4)))
    assert "the features of all images are equal" in caplog.text
    with pytest.raises(ValueError, match="Set: features are so large that distances between them overflow"):
        figures(feature_set(values=feature_set().values * 1e30))


def test_recalls_are_those_of_single_gallery_shots_where_the_protocol_says_so() -> None:
    features = feature_set(protocol=Protocol(single_gallery_shot=20))
    reid, retrieval = (
        figures(features),
        figures(features, "TEST.EVALUATOR", "RetrievalEvaluator", "TEST.RECALLS", [1, 5]),
    )
    assert [retrieval["Recall@1"], retrieval["Recall@5"]] == pytest.approx([reid["Rank-1"], reid["Rank-5"]])
    assert reid["Rank-1"] != pytest.approx(figures(feature_set())["Rank-1"])


def test_each_ranking_says_its_options_and_errors_their_set() -> None:
    rows = figures(feature_set(), *ALL)["with"]
    reranking = {"k1": 8, "k2": 6, "lambda_value": 0.3, "variant": "paper"}
    expansion = {"k": 5, "alpha": 3.0, "times": 1}
    assert rows["rerank"]["options"] == {"rerank": reranking}
    assert rows["aqe+rerank"]["options"] == {"aqe": expansion, "rerank": reranking}
    with pytest.raises(ValueError, match="Set: k1 must be between 1 and the 90 images of the gallery; got 91"):
        figures(feature_set(), "TEST.RERANK.ENABLED", True, "TEST.RERANK.K1", 91)


def test_sizes_are_checked_beforehand() -> None:
    rankings = Rankings(expansion={"k": 21}, reranking={"k1": 15})
    rankings.check(6, 15)
    rankings.check(21, 21, same=True)
    with pytest.raises(ValueError, match="k of the expansion is 21, but there are 20 images"):
        rankings.check(5, 15)
    with pytest.raises(ValueError, match="k1 must be between 1 and the 14 images of the gallery; got 15"):
        rankings.check(90, 14)


def test_names_are_registered() -> None:
    assert {"ReidEvaluator", "RetrievalEvaluator"} <= set(EVALUATORS.names())
