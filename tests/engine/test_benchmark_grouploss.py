"""The plain forms that Group Loss is compared with are that loss; the benchmark writes what it says."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from fastreid_ext.engine.benchmarks.plain_grouploss import dense_loss, restricted_loss
from fastreid_ext.engine.cli.benchmark import main
from fastreid_ext.projects.grouploss import GroupLoss

SPARSE = {
    "loss, sparse, after the gather",
    "loss, sparse",
    "loss, sparse, in probabilities",
    "refinement, sparse",
}
DENSE = {
    "loss, dense",
    "loss, dense, in probabilities",
    "refinement, dense",
    "refinement, dense, in probabilities",
}


@pytest.mark.parametrize("steps", [0, 1, 4])
@pytest.mark.parametrize("plain", [dense_loss, restricted_loss])
def test_plain_forms_are_ours(plain: Any, steps: int) -> None:
    images = torch.arange(12)
    # Batches have the same identities in any order, and classes that are in no batch.
    pids = torch.tensor([7, 2, 5])[images % 3]
    anchors = images < 3
    embeddings = (torch.randn(9, 20)[pids] + torch.randn(12, 20)).double().requires_grad_()
    logits = torch.randn(12, 9, dtype=torch.float64, requires_grad=True)
    ours = GroupLoss(temperature=2.0, steps=steps, sparse=plain is restricted_loss)
    losses = (
        ours(embeddings, logits, pids, anchor_mask=anchors),
        plain(embeddings, logits, pids, anchors, temperature=2.0, steps=steps),
    )
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-9, atol=1e-9)
    for tensor in (embeddings, logits)[0 if steps else 1 :]:
        gradients = [torch.autograd.grad(loss, tensor, retain_graph=True)[0] for loss in losses]
        assert gradients[0].any()
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-9, atol=1e-9)


def test_grouploss_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.grouploss"]
    numbers = {"WIDTH": 8, "IDENTITIES": 3, "IMAGES": 2, "CLASSES": (5, 7), "LARGEST_DENSE": 6, "STEPS": 1}
    for name, number in numbers.items():
        monkeypatch.setattr(module, name, number)
    # Here, instead of in processes that take seconds to start.
    monkeypatch.setattr(module, "_alone", lambda measure, kept: measure())
    peaks = {"loss, dense": 50.0, "loss, sparse": 2.0, "refinement, dense": 30.0, "refinement, sparse": 0.5}
    monkeypatch.setattr(module, "_megabytes", lambda options, classes: peaks)
    path = tmp_path / "grouploss.json"
    main(["grouploss", "--device", "cpu", "--repeats", "1", "--json", str(path)])
    written = json.loads(path.read_text())
    rows = {(row["classes"], row["how"]): row for row in written["rows"]}
    assert set(rows) == {(5, how) for how in SPARSE | DENSE} | {(7, how) for how in SPARSE}
    figures = {name.removeprefix("grouploss."): value for name, value in written["figures"].items()}
    seconds = {how: rows[5, how]["s"] for how in SPARSE | DENSE}
    for name, part in (("sparse", "refinement"), ("loss", "loss")):
        sparse = seconds[f"{part}, sparse"]
        assert figures[f"{name}_speedup"] == pytest.approx(seconds[f"{part}, dense"] / sparse)
        assert figures[f"{name}_speedup_over_plain"] == pytest.approx(
            seconds[f"{part}, dense, in probabilities"] / sparse
        )
    assert figures["sparse_memory_ratio"] == 60 and figures["loss_memory_ratio"] == 25
    assert figures["sparse_over_1m"] > 0
    assert rows[7, "loss, sparse"]["MB"] == 2
    assert rows[5, "loss, sparse"]["MB of logits"] == pytest.approx(4 * 6 * 5 / 1e6)


def test_steps_have_gradients_and_forget_them() -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.grouploss"]
    for name, step in module._runs(50, "cpu").items():
        step()
        assert all(tensor.grad is not None and tensor.grad.any() for tensor in step._inputs[:2]), name
        step.forget()
        assert all(tensor.grad is None for tensor in step._inputs), name


def test_memory_is_that_of_a_step() -> None:
    module = sys.modules["fastreid_ext.engine.benchmarks.grouploss"]
    options = module.Options(device="cpu", repeats=1)
    found = module._megabytes(options, 5_000)
    # Where the system tells: several tensors of all logits, against their gradient.
    if found:
        assert found["loss, dense"] > 5 * 4e-6 * 60 * 5_000
        assert found["loss, dense"] > 3 * found["loss, sparse"]
