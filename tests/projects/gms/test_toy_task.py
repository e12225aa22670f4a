"""The toy task against a slow loop with autograd, and losses that do and do not solve it."""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, normalize

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.presets import PRESETS, arcface, circle, cosface, loss, softmax
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.rejection import Screening
from fastreid_ext.projects.gms.toy_task import ToyTask


def function(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    nodes = [x, *(torch.full_like(x, constant) for constant in graph.constants)]
    for name, inputs in graph.operations:
        nodes.append(PRIMITIVES[name].function(*(nodes[node] for node in inputs)))
    return sum((nodes[node] for node in graph.outputs), start=0 * x)


def train_slowly(task: ToyTask, candidate: Candidate) -> tuple[float, torch.Tensor]:
    """Accuracy and embeddings."""
    embeddings = torch.from_numpy(task.embeddings.copy()).requires_grad_()
    weights = torch.from_numpy(task.weights.copy()).requires_grad_()
    pids = torch.from_numpy(task.pids)
    own = torch.nn.functional.one_hot(pids).bool()
    optimizer = torch.optim.SGD([embeddings, weights], lr=task.learning_rate)
    for _ in range(task.steps):
        cosines = normalize(embeddings) @ normalize(weights).T
        logits = torch.where(own, function(candidate.target, cosines), function(candidate.nontarget, cosines))
        optimizer.zero_grad()
        cross_entropy(candidate.scale * logits, pids).backward()
        optimizer.step()
    units = normalize(embeddings.detach())
    centres = torch.stack([units[pids == pid].mean(0) for pid in range(own.shape[1])])
    nearest = (units @ normalize(centres).T).argmax(1)
    return (nearest == pids).double().mean().item(), embeddings.detach()


def train(task: ToyTask, candidates: list[Candidate], monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """The embeddings that the task ends with."""
    kept: list[torch.Tensor] = []
    module = sys.modules[ToyTask.__module__]
    count = module.count_assigned
    monkeypatch.setattr(module, "count_assigned", lambda x, *rest: (kept.append(torch.from_numpy(x)), count(x, *rest)))
    task.accuracies(candidates)
    return torch.cat(kept)


def test_embeddings_are_those_of_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    """After few steps, before rounding grows: exactly; the starts differ in size, the classes in number of images."""
    task = ToyTask(batch_size=11, identities=4, width=5, steps=6, learning_rate=2.0, seed=3)
    names = ["softmax", "cosface", "arcface", "circle", "gms-a", "gms-b", "gms-c", "gms-zero", "gms-pair"]
    candidates = [PRESETS[name] for name in names]
    for candidate, embeddings in zip(candidates, train(task, candidates, monkeypatch), strict=True):
        expected = train_slowly(task, candidate)[1]
        torch.testing.assert_close(embeddings, expected, rtol=1e-9, atol=1e-9)


def test_accuracies_are_those_of_autograd() -> None:
    task = ToyTask(batch_size=24, identities=4, width=5, steps=8, learning_rate=1.0)
    losses, verdicts = Screening().sample(np.random.default_rng(0), 200)
    candidates = [losses.candidate(k) for k, verdict in enumerate(verdicts) if not verdict.reason]
    candidates = [*candidates[:12], *(PRESETS[name] for name in ("softmax", "circle", "gms-d"))]
    expected = [train_slowly(task, candidate)[0] for candidate in candidates]
    assert task.accuracies(candidates) == expected and len(set(expected)) > 3


@pytest.mark.parametrize("seed", [0, 1])
def test_losses_of_the_paper_pass(seed: int) -> None:
    accuracies = ToyTask(seed=seed).accuracies(list(PRESETS.values()))
    assert {name: x for name, x in zip(PRESETS, accuracies, strict=True) if x < 0.9} == {}


def test_hand_crafted_losses_pass_with_any_usual_margin_and_scale() -> None:
    losses = [softmax(4.0), softmax(5.0), softmax(6.0)]
    losses += [maker(margin, s) for maker in (cosface, arcface) for margin in (0.1, 0.5) for s in (4.0, 5.0, 6.0)]
    losses += [circle(margin, s) for margin in (0.25, 0.4) for s in (6.0, 7.0, 8.0)]
    assert min(ToyTask().accuracies(losses)) >= 0.9


@pytest.mark.parametrize(
    ("target", "nontarget"),
    [
        ("x * 0 + 0.5", "x * 0 + 0.7"),
        ("de(x)", "de(x)"),
        ("de(x)", "x"),
        ("-x", "x"),
        ("tanh(40 * (x + 3))", "tanh(40 * (x + 3))"),
        ("relu(x - 0.9)", "relu(x - 0.8)"),
        ("0.0001 * x", "0.0001 * x"),
    ],
)
def test_losses_without_usable_gradient_fail(target: str, nontarget: str) -> None:
    assert ToyTask().accuracies([loss(target, nontarget, 5.0)])[0] < 0.9


def test_untrained_embeddings_fail() -> None:
    (accuracy,) = ToyTask(steps=0).accuracies([softmax()])
    assert 0.3 < accuracy < 0.7


def test_a_loss_that_becomes_infinite_has_accuracy_zero() -> None:
    bad = loss("exp(1000 * x)", "x", 5.0)
    assert ToyTask(steps=5).accuracies([softmax(), bad, softmax()])[1] == 0


def test_results_do_not_depend_on_company_or_threads() -> None:
    task = ToyTask(steps=15, learning_rate=1.0)
    candidates = [maker(0.1 * k, 4.0) for k in range(7) for maker in (cosface, arcface, circle)]
    candidates[5] = loss("exp(1000 * x)", "x", 5.0)
    together = task.accuracies(candidates)
    assert [task.accuracies([candidate])[0] for candidate in candidates] == together
    torch.set_num_threads(2)
    try:
        assert task.accuracies(candidates) == together
    finally:
        torch.set_num_threads(1)
    assert together[5] == 0 and len(set(together)) > 3


def test_seed_and_sizes_are_options() -> None:
    make = partial(ToyTask, batch_size=12, identities=3, width=2, steps=3, learning_rate=0.1)
    assert make().embeddings.shape == (12, 2) and make().weights.shape == (3, 2)
    starts = {seed: make(seed=seed).embeddings.tobytes() for seed in (0, 1)}
    assert starts[0] != starts[1] and make(seed=0).embeddings.tobytes() == starts[0]
    (accuracy,) = make().accuracies([softmax()])
    assert accuracy * 12 == pytest.approx(round(accuracy * 12))


def test_nothing_can_be_trained() -> None:
    assert ToyTask().accuracies([]) == []
