from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn.functional import normalize

from fastreid_ext.modeling.losses import CircleLoss, Cosface, PairwiseLoss, TripletAllLoss, TripletLoss
from fastreid_ext.utils.dist import leave_group

PIDS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])


def embed(batch: int = 8, dim: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(batch, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def anchors(pids: Tensor) -> Iterator[tuple[int, list[int], list[int]]]:
    """Anchors that have positives and negatives."""
    for anchor, pid in enumerate(pids.tolist()):
        positives = [i for i, other in enumerate(pids.tolist()) if other == pid and i != anchor]
        negatives = [i for i, other in enumerate(pids.tolist()) if other != pid]
        if positives and negatives:
            yield anchor, positives, negatives


def mean(values: list[float]) -> float:
    return sum(values) / max(1, len(values))


def distance_of(embeddings: Tensor, norm_feat: bool) -> Callable[[int, int], float]:
    x = normalize(embeddings) if norm_feat else embeddings
    return lambda i, j: (x[i] - x[j]).norm().item()


def slow_triplet(embeddings: Tensor, pids: Tensor, margin: float, norm_feat: bool, hard: bool) -> float:
    distance = distance_of(embeddings, norm_feat)
    losses = []
    for anchor, positives, negatives in anchors(pids):
        near = [distance(anchor, i) for i in positives]
        far = [distance(anchor, i) for i in negatives]
        if hard:
            gap = max(near) - min(far)
        else:
            gap = sum(d * math.exp(d) for d in near) / sum(math.exp(d) for d in near)
            gap -= sum(d * math.exp(-d) for d in far) / sum(math.exp(-d) for d in far)
        losses.append(max(0.0, gap + margin) if margin else math.log1p(math.exp(gap)))
    return mean(losses)


def slow_triplet_all(embeddings: Tensor, pids: Tensor, margin: float, norm_feat: bool) -> float:
    distance = distance_of(embeddings, norm_feat)
    losses = [
        distance(anchor, positive) - distance(anchor, negative) + margin
        for anchor, positives, negatives in anchors(pids)
        for positive in positives
        for negative in negatives
    ]
    return mean([loss for loss in losses if loss > 0])


def slow_circle(embeddings: Tensor, pids: Tensor, margin: float, gamma: float) -> float:
    x = normalize(embeddings)
    losses = []
    for anchor, positives, negatives in anchors(pids):
        of_positives = of_negatives = 0.0
        for i in positives:
            s = (x[anchor] @ x[i]).item()
            of_positives += math.exp(-gamma * max(0.0, 1 + margin - s) * (s - (1 - margin)))
        for i in negatives:
            s = (x[anchor] @ x[i]).item()
            of_negatives += math.exp(gamma * max(0.0, s + margin) * (s - margin))
        losses.append(math.log1p(of_positives * of_negatives))
    return mean(losses)


def slow_cosface(embeddings: Tensor, pids: Tensor, margin: float, gamma: float) -> float:
    x = normalize(embeddings)
    losses = []
    for anchor, positives, negatives in anchors(pids):
        total = 0.0
        for i in positives:
            for j in negatives:
                total += math.exp(gamma * ((x[anchor] @ x[j]).item() + margin - (x[anchor] @ x[i]).item()))
        losses.append(math.log1p(total))
    return mean(losses)


LOSSES: dict[str, PairwiseLoss] = {
    "hard": TripletLoss(margin=0.3),
    "hard-soft-margin": TripletLoss(margin=0.0, norm_feat=True),
    "weighted": TripletLoss(margin=0.5, hard_mining=False),
    "weighted-soft-margin": TripletLoss(margin=0.0, norm_feat=True, hard_mining=False),
    "all": TripletAllLoss(margin=0.3),
    "all-normalised": TripletAllLoss(margin=0.1, norm_feat=True),
    "circle": CircleLoss(margin=0.25, gamma=16.0),
    "cosface": Cosface(margin=0.25, gamma=16.0),
}
SLOW: dict[str, Callable[[Tensor, Tensor], float]] = {
    "hard": lambda x, y: slow_triplet(x, y, 0.3, False, True),
    "hard-soft-margin": lambda x, y: slow_triplet(x, y, 0.0, True, True),
    "weighted": lambda x, y: slow_triplet(x, y, 0.5, False, False),
    "weighted-soft-margin": lambda x, y: slow_triplet(x, y, 0.0, True, False),
    "all": lambda x, y: slow_triplet_all(x, y, 0.3, False),
    "all-normalised": lambda x, y: slow_triplet_all(x, y, 0.1, True),
    "circle": lambda x, y: slow_circle(x, y, 0.25, 16.0),
    "cosface": lambda x, y: slow_cosface(x, y, 0.25, 16.0),
}
every_loss = pytest.mark.parametrize("name", LOSSES)


@every_loss
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop(name: str, seed: int) -> None:
    embeddings = embed(seed=seed)
    assert LOSSES[name](embeddings, PIDS).item() == pytest.approx(SLOW[name](embeddings, PIDS), abs=1e-9)


@every_loss
def test_classes_may_have_any_size(name: str) -> None:
    embeddings = embed(12)
    pids = torch.tensor([5, -1, 5, 7, 5, 5, 9, 9, -1, 5, 100, 9])
    assert LOSSES[name](embeddings, pids).item() == pytest.approx(SLOW[name](embeddings, pids), abs=1e-9)


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "circle"])
def test_gradients(name: str) -> None:
    assert torch.autograd.gradcheck(lambda x: LOSSES[name](x, PIDS), embed().requires_grad_())


def test_circle_weights_are_constants_to_the_gradient() -> None:
    embeddings = embed().requires_grad_()
    LOSSES["circle"](embeddings, PIDS).backward()
    constant = normalize(embed()) @ normalize(embed()).T

    def with_constant_weights(x: Tensor) -> Tensor:
        cosines = normalize(x) @ normalize(x).T
        total = cosines.new_zeros(())
        for anchor, positives, negatives in anchors(PIDS):
            p, n = cosines[anchor, positives], cosines[anchor, negatives]
            weight_p, weight_n = 1.25 - constant[anchor, positives], (constant[anchor, negatives] + 0.25).clamp_min(0)
            of_positives = (-16 * weight_p * (p - 0.75)).exp().sum()
            of_negatives = (16 * weight_n * (n - 0.25)).exp().sum()
            total = total + (1 + of_positives * of_negatives).log()
        return total / 7

    other = embed().requires_grad_()
    with_constant_weights(other).backward()
    torch.testing.assert_close(embeddings.grad, other.grad, rtol=1e-9, atol=1e-12)


@every_loss
def test_the_order_of_the_batch_does_not_matter(name: str) -> None:
    embeddings = embed()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(LOSSES[name](embeddings[order], PIDS[order]), LOSSES[name](embeddings, PIDS))


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_half_precision_is_finite(name: str, dtype: torch.dtype, scale: float) -> None:
    embeddings = (scale * embed()).to(dtype).requires_grad_()
    loss = LOSSES[name](embeddings, PIDS)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert embeddings.grad is not None and embeddings.grad.isfinite().all()


@every_loss
def test_autocast_does_not_coarsen_the_loss(name: str) -> None:
    embeddings = embed().float()
    with torch.autocast("cpu", torch.bfloat16):
        loss = LOSSES[name](embeddings, PIDS)
    torch.testing.assert_close(loss, LOSSES[name](embeddings, PIDS))


@every_loss
@pytest.mark.parametrize("pids", [[4, 4, 4, 4], [0, 1, 2, 3], [0], []], ids=["one id", "no positives", "one", "empty"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_without_triplets_the_loss_is_zero_with_a_graph(name: str, pids: list[int], dtype: torch.dtype) -> None:
    embeddings = (1000 * embed(len(pids))).to(dtype).requires_grad_()
    loss = LOSSES[name](embeddings, torch.tensor(pids, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert embeddings.grad is not None and not embeddings.grad.any()


@every_loss
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_identical_embeddings_have_finite_gradients(name: str, value: float) -> None:
    embeddings = torch.full((8, 5), value, requires_grad=True)
    loss = LOSSES[name](embeddings, PIDS)
    loss.backward()
    assert loss.isfinite() and loss > 0
    assert embeddings.grad is not None and embeddings.grad.isfinite().all()


@every_loss
def test_inputs_are_left_alone(name: str) -> None:
    embeddings, pids = embed(), PIDS.clone()
    LOSSES[name](embeddings.requires_grad_(), pids).backward()
    assert torch.equal(embeddings, embed())
    assert torch.equal(pids, PIDS)


@every_loss
def test_separated_identities_have_a_small_loss(name: str) -> None:
    embeddings = 10 * torch.eye(8, dtype=torch.float64)[PIDS]
    assert LOSSES[name](embeddings, PIDS) < LOSSES[name](embed(8, 8), PIDS) / 2


@every_loss
def test_nothing_depends_on_values_that_a_gpu_would_have_to_send(name: str) -> None:
    with FakeTensorMode():
        embeddings = torch.randn(8, 5, requires_grad=True)
        LOSSES[name](embeddings, torch.zeros(8, dtype=torch.long)).backward()


def test_wrong_arguments_are_refused() -> None:
    for loss_class in (TripletLoss, TripletAllLoss):
        with pytest.raises(ValueError, match="margin"):
            loss_class(margin=-0.1)
    with pytest.raises(ValueError, match=r"\(8, 5\) and \(7,\)"):
        TripletLoss()(embed(), PIDS[:7])


def _gradients(x: Tensor, pids: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Loss and gradient of a shared weight for each loss."""
    found = {}
    for name, loss in LOSSES.items():
        weight = embed(6, 5, seed=9).requires_grad_()
        value = loss.from_outputs({"features": x @ weight}, pids)
        value.backward()
        assert weight.grad is not None
        found[name] = (value.detach(), weight.grad)
    return found


def _run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    half = slice(4 * rank, 4 * rank + 4)
    found = _gradients(embed(8, 6)[half], PIDS[half])
    for _, gradient in found.values():
        dist.all_reduce(gradient)
        gradient /= 2
    torch.save(found, f"{folder}/{rank}.pt")
    leave_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    run_ranks(_run_rank, (str(tmp_path),))
    expected = _gradients(embed(8, 6), PIDS)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for name, (loss, gradient) in expected.items():
            torch.testing.assert_close(found[name][0], loss, rtol=0, atol=1e-9)
            torch.testing.assert_close(found[name][1], gradient, rtol=0, atol=1e-9)
