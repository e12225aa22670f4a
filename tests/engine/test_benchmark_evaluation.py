"""Evaluation benchmarks measure what they say, against baselines that are right; how fast is not a test's business."""

from __future__ import annotations

import importlib
import json
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastreid_ext.engine.benchmarks import BENCHMARKS, evaluation, evaluation_report, own_process, rerank
from fastreid_ext.engine.benchmarks import Report as BenchmarkReport
from fastreid_ext.engine.benchmarks import evaluation_data as data
from fastreid_ext.engine.benchmarks.classic_evaluation import argsort_ranking, dense_rerank
from fastreid_ext.engine.benchmarks.own_process import Trial, measure, measure_alone
from fastreid_ext.engine.benchmarks.peak_memory import PeakMemory
from fastreid_ext.engine.benchmarks.registry import Options
from fastreid_ext.engine.benchmarks.rerank import RANKED
from fastreid_ext.engine.cli.benchmark import main
from fastreid_ext.evaluation import k_reciprocal_rerank, rank_metrics


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and sets that grow from few to a few more."""
    monkeypatch.setattr(evaluation_report, "measure_alone", measure)
    monkeypatch.setattr(evaluation_report, "GROWTH", (100, 150, 200, 5_000))


@pytest.mark.parametrize("dim", [64, 512])
def test_classic_ranking_equals_ours(dim: int) -> None:
    drawn = data.draw(data.SetSize("set", "set", 60, 300, 20, 3, dim), seed=1)
    ours = rank_metrics(drawn.query, drawn.gallery, *drawn.ids)
    q_pids, g_pids, q_camids, g_camids = (ids.numpy() for ids in drawn.ids)
    cmc, mean = argsort_ranking(drawn.query.numpy(), drawn.gallery.numpy(), q_pids, g_pids, q_camids, g_camids)
    assert 0.1 < mean < 0.95
    assert ours.mAP == pytest.approx(mean, abs=1e-6)
    np.testing.assert_allclose(ours.cmc.numpy(), cmc, rtol=0, atol=1e-12)


def test_classic_ranking_passes_over_queries_without_a_match() -> None:
    pids, camids = np.array([0, 1, 1]), np.array([0, 0, 1])
    angles = np.deg2rad([0, 10, 20])
    gallery = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    query, query_pids = gallery[[0, 0]], np.array([0, 1])
    # The first query's only match is of its own camera; the second passes over image 1 and finds image 2 second.
    cmc, mean = argsort_ranking(query, gallery, query_pids, pids, np.array([0, 0]), camids, max_rank=3)
    assert mean == pytest.approx(0.5)
    assert cmc.tolist() == pytest.approx([0, 1])


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (7, 1), (4, 5)])
def test_dense_reranking_equals_ours(k1: int, k2: int) -> None:
    drawn = data.draw(data.SetSize("set", "set", 50, 200, 15, 3, 256), seed=2)
    ours = k_reciprocal_rerank(drawn.query, drawn.gallery, k1=k1, k2=k2)
    dense = dense_rerank(drawn.features.numpy(), drawn.queries, k1=k1, k2=k2)
    np.testing.assert_allclose(ours.numpy(), dense, rtol=0, atol=1e-5)
    scores = [rank_metrics(None, None, *drawn.ids, distances=each).mAP for each in (ours, torch.from_numpy(dense))]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)
    assert abs(scores[0] - rank_metrics(drawn.query, drawn.gallery, *drawn.ids).mAP) > 0.01


def test_draws_are_of_the_size_and_repeat() -> None:
    size = data.SetSize("set", "set", 7, 5_000, 9, 4, 8)
    drawn, again = data.draw(size), data.draw(size)
    assert torch.equal(drawn.features, again.features)
    assert drawn.query.shape == (7, 8) and drawn.gallery.shape == (5_000, 8) and size.images == 5_007
    assert [len(ids) for ids in drawn.ids] == [7, 5_000, 7, 5_000]
    assert set(drawn.ids[1].tolist()) == set(range(9)) and set(drawn.camids.tolist()) == set(range(4))
    assert not torch.equal(drawn.features, data.draw(size, seed=1).features)


def test_bare_product_makes_all_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    multiply = torch.mm

    def counted(a: torch.Tensor, b: torch.Tensor, *, out: torch.Tensor) -> torch.Tensor:
        nonlocal made
        made += out.numel()
        return multiply(a, b, out=out)

    monkeypatch.setattr(torch, "mm", counted)
    data.bare_product(torch.randn(1_500, 4), torch.randn(2_100, 4))
    assert made == 1_500 * 2_100


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_peak_memory_is_of_the_block_alone() -> None:
    kept = torch.ones(2**22)
    torch.ones(2**25).sum()
    with PeakMemory() as peak:
        torch.ones(2**24).sum()
    # 2^26 bytes; neither the 2^27 before nor the 2^24 that are there still.
    assert peak.megabytes == pytest.approx(2**26 / 1e6, rel=0.1)
    assert len(kept) == 2**22


def test_a_process_of_its_own() -> None:
    trial = Trial(data.SetSize("set", "set", 30, 120, 10, 3, 16), (RANKED,), product="all", rounds=1)
    (measured,) = measure_alone(trial, "cpu")
    assert measured.work == trial.works[0] and measured.size == trial.size
    assert measured.seconds > 0 and measured.product
    assert measured.over_product == pytest.approx(measured.seconds / measured.product)
    assert measured.speedup is None
    assert measured.mAP == measure(trial, "cpu")[0].mAP


def test_evaluation_reports_reranking(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "evaluation.json"
    main(["evaluation", "--device", "cpu", "--repeats", "1", "--largest", "3000", "--json", str(path)])
    written = json.loads(path.read_text())
    rows, figures = written["rows"], written["figures"]
    found = {row["what"]: row for row in rows if row["size"].startswith("small")}
    assert set(found) == {
        "rank_metrics",
        "classic: NumPy argsort, loop",
        "reranked_distances, rank_metrics",
        "k_reciprocal_rerank",
        "classic: dense NumPy re-ranking",
    }
    assert found["rank_metrics"]["mAP"] == pytest.approx(found["classic: NumPy argsort, loop"]["mAP"], abs=1e-4)
    for ours, classic in (("rank_metrics", "NumPy argsort, loop"), ("k_reciprocal_rerank", "dense NumPy re-ranking")):
        ratio = found[f"classic: {classic}"]["s"] / found[ours]["s"]
        assert found[ours]["classic over it"] == pytest.approx(ratio)
        assert found[f"classic: {classic}"]["classic over it"] == 1
    assert figures["evaluation.speedup_small"] == found["rank_metrics"]["classic over it"]
    assert figures["rerank.speedup_small"] == found["k_reciprocal_rerank"]["classic over it"]
    over = found["reranked_distances, rank_metrics"]
    assert figures["rerank.over_product_small"] == pytest.approx(over["s"] / over["product s"])
    growth = {"evaluation.exponent_rank", "evaluation.exponent_roc", "evaluation.exponent_aqe", "rerank.exponent"}
    assert growth | {name + "_upper" for name in growth} <= set(figures)
    # Nothing of the sets that were left out.
    assert not [name for name in figures if name.endswith(("market", "msmt17", "veriwild", "5040"))]
    assert not [row for row in rows if "5,000" in row["size"]]
    assert "rank_metrics" in capsys.readouterr().out


def test_evaluation_clusters_where_it_can(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package's attribute of this name is the benchmark.
    module = importlib.import_module("fastreid_ext.engine.benchmarks.evaluation")
    monkeypatch.setattr(module, "SOP", data.SetSize("SOP", "sop", 0, 150, 12, 1, 16))
    monkeypatch.setattr(module, "rerank", lambda options: BenchmarkReport())
    assert [row["size"] for row in evaluation(Options(repeats=1, largest=150)).rows if row["what"] == "nmi"] == [
        "SOP: 0 x 150 x 16"
    ]

    def missing() -> None:
        raise ImportError("no faiss")

    monkeypatch.setattr(module, "require_clustering", missing)
    assert "nmi" not in {row["what"] for row in evaluation(Options(repeats=1, largest=150)).rows}


def test_all_measures_reranking_once(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def fake(name: str) -> Any:
        def run(options: Options) -> BenchmarkReport:
            called.append(name)
            return BenchmarkReport([{"what": name}])

        return run

    monkeypatch.setattr(BENCHMARKS, "get", fake)
    main(["all", "--device", "cpu"])
    assert "evaluation" in called and "rerank" not in called and len(set(called)) == len(called)


def test_reranking_alone(small: None) -> None:
    report = rerank(Options(repeats=1, largest=200))
    assert {row["what"] for row in report.rows} == {"reranked_distances, rank_metrics"}
    assert [row["size"][:7] for row in report.rows] == ["N = 100", "N = 150", "N = 200", "N = 100", "N = 150"]
    assert set(report.figures) == {"rerank.exponent", "rerank.exponent_upper"}


def test_nothing_to_measure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["rerank", "--largest", "1999"])
    assert "--largest 1999 leaves nothing to measure: take at least 2,000" in capsys.readouterr().err


def test_exponents(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake(trial: Trial, device: str) -> list[own_process.Measured]:
        images = trial.size.images
        seconds = images**2 if images < 200 else 8 * images**1.5
        return [own_process.Measured(trial.size, work, seconds, None, None, None, None) for work in trial.works]

    monkeypatch.setattr(evaluation_report, "measure_alone", fake)
    monkeypatch.setattr(evaluation_report, "GROWTH", (100, 200, 400))
    report = BenchmarkReport()
    evaluation_report.add_growth(report, {"exponent": RANKED}, Options())
    assert report.figures["exponent_upper"] == pytest.approx(1.5)
    slope = np.polyfit(np.log([100, 200, 400]), np.log([100**2, 8 * 200**1.5, 8 * 400**1.5]), 1)[0]
    assert report.figures["exponent"] == pytest.approx(slope)
    assert [row["exponent of N"] for row in report.rows[:3]] == [None] * 3


def test_pace_of_a_part_of_the_queries() -> None:
    work = own_process.Work("few", lambda drawn: None, queries=10)
    size = data.SetSize("set", "set", 40, 100, 10, 3)
    measured = own_process.Measured(size, work, seconds=2.0, product=1.0, classic=16.0, memory_mb=None, mAP=None)
    assert measured.over_product == 8 and measured.speedup == 2


def test_a_process_that_is_ended_tells_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr(ProcessPoolExecutor, "submit", broken)
    trial = Trial(data.SetSize("set", "set", 30, 120, 10, 3, 16), (RANKED,))
    with pytest.raises(ChildProcessError, match=r"rank_metrics at set: 30 x 120 x 16 was ended.*--largest 149"):
        measure_alone(trial, "cpu")
