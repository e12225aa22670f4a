"""The plain forms that the HE loss is compared with are that loss; the benchmark writes what it says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.engine.benchmarks.moreid_step import dictionary_call, dictionary_figures
from fastreid_ext.engine.benchmarks.plain_he import dense_loss, scan_loss
from fastreid_ext.engine.cli.benchmark import main
from fastreid_ext.functional.keys import Keys, keys_of_ids
from fastreid_ext.projects.moreid import HardDistanceElasticLoss


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
@pytest.mark.parametrize("plain", [scan_loss, dense_loss])
def test_plain_forms_are_ours(plain: Any, spread: float, metric: Any) -> None:
    centres = torch.randn(6, 5, dtype=torch.float64)
    # The last query has no positive.
    query_ids, key_ids = torch.arange(13) // 2, torch.arange(40) % 6
    queries = torch.cat((centres, centres[:1]))[query_ids]
    queries = (queries + spread * torch.randn_like(queries)).requires_grad_()
    features = centres[key_ids] + spread * torch.randn(40, 5, dtype=torch.float64)
    # Some keys are nothing to some queries.
    keys = keys_of_ids(features, query_ids, key_ids, torch.rand(13, 40) < 0.7, torch.rand(13, 40) < 0.7)
    losses = HardDistanceElasticLoss(metric=metric).compare(queries, keys), plain(queries, keys, metric)
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-9, atol=1e-9)
    gradients = [torch.autograd.grad(loss, queries)[0] for loss in losses]
    assert gradients[0].any() or spread < 1
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("trained", [False, True])
def test_pairs_are_hard_unless_trained(trained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.he"]
    for name, number in {"WIDTH": 64, "IDENTITIES": 3, "IMAGES": 4}.items():
        monkeypatch.setattr(module, name, number)
    queries, keys = module._draw(module._Case(50, trained), "cpu")
    assert keys.positive.sum(1).tolist() == [3] * 12
    # All places are taken: 12 of them by the batch, with 8 images of others, and 38 by images of yet others.
    assert keys.negative.sum(1).tolist() == [8 + 38] * 12
    loss = HardDistanceElasticLoss().compare(queries, keys)
    assert (loss.item() == 0) == trained
    assert loss.item() == pytest.approx(float(scan_loss(queries, keys).detach()), abs=1e-4)


def test_a_dictionary_takes_its_bytes() -> None:
    figures = dictionary_figures(100, 7)
    assert figures["moreid.dictionary_bytes_over_computed"] == 1
    assert figures["moreid.dictionary_mb"] == pytest.approx(100 * (28 + 16) / 1e6 + 24e-6)


def test_the_dictionary_that_is_called_is_full() -> None:
    call: Any = dictionary_call(8, 20, 3, "cpu")
    keys: Keys = call()
    assert (keys.pids >= 0).all()
    assert keys.positive.shape == (8, 20)
    assert keys.positive.sum() == 8 * 7
    assert keys.negative.sum() == 8 * 12


def test_he_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.he"]
    numbers = {"WIDTH": 8, "IDENTITIES": 4, "IMAGES": 2, "SIZES": (16, 32), "STEPS": 1}
    for name, number in numbers.items():
        monkeypatch.setattr(module, name, number)
    # Here, instead of in processes that take seconds to start.
    monkeypatch.setattr(module, "_alone", lambda measure, kept: measure())
    path = tmp_path / "he.json"
    arguments = ["he", "--device", "cpu", "--repeats", "1", "--batch-size", "16", "--size", "32", "32"]
    main([*arguments, "--json", str(path)])
    written = json.loads(path.read_text())
    rows = {(row["what"], row["memory"], row["keys"], row["case"], row["how"]): row for row in written["rows"]}
    assert len(rows) == len(written["rows"])
    _check_losses(rows, written["figures"])
    _check_steps(rows, written["figures"])


def _check_losses(rows: dict[Any, dict[str, Any]], figures: dict[str, float]) -> None:
    plain = {"one product", "HE", "TripletLoss, hard", "HE, dense, autograd", "HE, query by query"}
    usual, few = "untrained, euclidean", {"one product", "HE"}
    expected = {("kept", 32, usual): plain, ("freed", 32, usual): plain, ("kept", 16, usual): few}
    expected |= {("kept", 32, "trained, euclidean"): few, ("kept", 32, "untrained, cosine"): few}
    ways = {key[1:4]: {other[4] for other in rows if other[:4] == key[:4]} for key in rows if key[0] == "loss"}
    assert ways == expected
    for suffix, memory in (("", "kept"), ("_where_memory_is_freed", "freed")):
        of_case = {name: rows["loss", memory, 32, usual, name] for name in plain}
        assert figures[f"he.over_product{suffix}"] == pytest.approx(of_case["HE"]["ratio"])
        for name, how in (("scan", "HE, query by query"), ("dense", "HE, dense, autograd")):
            speedup = of_case[how]["s"] / of_case["HE"]["s"]
            assert figures[f"he.speedup_over_{name}{suffix}"] == pytest.approx(speedup)
    for name, case in (("trained", "trained, euclidean"), ("cosine", "untrained, cosine")):
        assert figures[f"he.over_product_{name}"] == pytest.approx(rows["loss", "kept", 32, case, "HE"]["ratio"])


def _check_steps(rows: dict[Any, dict[str, Any]], figures: dict[str, float]) -> None:
    steps = {key[4]: row for key, row in rows.items() if key[0] == "training step"}
    assert set(steps) == {"Baseline, TripletLoss", "Baseline, HE", "MoReID, TripletLoss", "MoReID, HE"}
    assert figures["moreid.step_over_baseline"] == pytest.approx(steps["MoReID, HE"]["s"] / steps["Baseline, HE"]["s"])
    parts = {key[4] for key in rows if key[0] == "part of a step"}
    assert parts == {"momentum encoder, forward", "momentum encoder, after_step", "dictionary", "HE"}
    call = [row for key, row in rows.items() if key[0] == "dictionary"]
    assert len(call) == 1
    assert call[0]["ratio"] is None
    assert figures["moreid.dictionary_bytes_over_computed"] == 1
