"""The plain forms that the sparse losses are compared with are those losses; the benchmark writes what it says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.engine.benchmarks.plain_adasp import dense_loss, logsumexp_loss
from fastreid_ext.engine.cli.benchmark import main
from fastreid_ext.projects.adasp import AdaSPLoss


@pytest.mark.parametrize("kind", ["adasp", "sp-h", "sp-lh"])
@pytest.mark.parametrize("images", [1, 2, 4])
@pytest.mark.parametrize("plain", [logsumexp_loss, dense_loss])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plain_forms_are_ours(kind: Any, images: int, plain: Any, dtype: torch.dtype) -> None:
    pids = torch.arange(12) // images
    # Images of half of the identities are close together: their hardest positives are above 0.
    spread = torch.where(pids < 6 // images, 0.3, 3)[:, None]
    embeddings = (torch.randn(12, 5)[pids] + spread * torch.randn(12, 5)).to(dtype).requires_grad_()
    losses = AdaSPLoss(temperature=0.04, kind=kind)(embeddings, pids), plain(embeddings, images, 0.04, kind)
    tolerance = 1e-9 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(losses[1], losses[0], rtol=tolerance, atol=tolerance)
    gradients = [torch.autograd.grad(loss, embeddings)[0] for loss in losses]
    assert gradients[0].any()
    torch.testing.assert_close(gradients[1], gradients[0], rtol=tolerance, atol=tolerance)


def test_the_dense_form_overflows() -> None:
    embeddings = torch.ones(4, 3)
    assert not dense_loss(embeddings, 2, 0.01, "sp-h").isfinite()
    assert logsumexp_loss(embeddings, 2, 0.01, "sp-h").isfinite()


def test_adasp_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.adasp"]
    numbers = {"WIDTH": 8, "BATCHES": (4, 8, 16), "BATCH": 8, "IMAGES": (2, 4), "STEPS": 2}
    for name, number in numbers.items():
        monkeypatch.setattr(module, name, number)
    # Here, instead of in processes that take seconds to start.
    monkeypatch.setattr(
        module, "_measure_alone", lambda options, batches, kept: module._measure(options, batches, False, 1)
    )
    path = tmp_path / "adasp.json"
    main(["adasp", "--device", "cpu", "--repeats", "1", "--json", str(path)])
    written = json.loads(path.read_text())
    seconds = {(row["memory"], row["batch"], row["K"], row["what"]): row["s"] for row in written["rows"]}
    batches = {(4, 4), (8, 4), (16, 4), (8, 2)}
    assert {key[:3] for key in seconds} == {(memory, *batch) for memory in ("kept", "freed") for batch in batches}
    kinds = {"adasp", "sp-h", "sp-lh", "TripletLoss, hard", "log-sum-exp, autograd", "dense masks, exp"}
    assert kinds | {"one product", "three products"} <= {key[3] for key in seconds}
    assert len(seconds) == 2 * 4 * len({key[3] for key in seconds})
    for memory, suffix in (("kept", ""), ("freed", "_where_memory_is_freed")):
        figures = {
            name: written["figures"][f"adasp.{name}{suffix}"]
            for name in ("over_products", "speedup_over_logsumexp", "speedup_over_dense", "exponent_of_batch")
        }
        ours, products, plain, dense = (
            seconds[memory, 8, 4, what]
            for what in ("adasp", "three products", "log-sum-exp, autograd", "dense masks, exp")
        )
        assert figures["over_products"] == pytest.approx(ours / products)
        assert figures["speedup_over_logsumexp"] == pytest.approx(plain / ours)
        assert figures["speedup_over_dense"] == pytest.approx(dense / ours)


def test_exponents_are_of_what_is_beyond_the_products() -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.adasp"]

    def times(batch: Any) -> dict[str, float]:
        beyond = batch.size**2 * (batch.size / batch.images) ** 0.5
        return {"adasp": 6e9 + beyond, "three products": 9e9, "log-sum-exp, autograd": 1.0, "dense masks, exp": 1.0}

    batches = [module._Batch(size, 4) for size in module.BATCHES] + [module._Batch(512, k) for k in module.IMAGES]
    figures = module._figures({batch: times(batch) for batch in batches}, "")
    assert figures["adasp.exponent_of_batch"] == pytest.approx(2.5, abs=1e-5)
    assert figures["adasp.exponent_of_identities"] == pytest.approx(0.5, abs=1e-5)
