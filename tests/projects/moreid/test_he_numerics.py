"""Half precision, duplicates, batches without pairs, what a GPU computes otherwise, and what costs nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from he_loops import scan_loss
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from fastreid_ext.functional.keys import Keys
from fastreid_ext.functional.pairs import pair_masks
from fastreid_ext.projects.moreid import HardDistanceElasticLoss

PIDS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
every_metric = pytest.mark.parametrize("metric", ["euclidean", "cosine"])
half = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


def embed(batch: int = 8, dim: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(batch, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scan(embeddings: Tensor, metric: str = "euclidean") -> Tensor:
    same = PIDS[:, None] == PIDS
    return scan_loss(embeddings, embeddings, same & ~torch.eye(8, dtype=torch.bool), ~same, metric)


def gradient_of(loss: Tensor, embeddings: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, embeddings)
    return gradient


@every_metric
@half
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
def test_half_precision_is_finite(metric: Any, dtype: torch.dtype, scale: float) -> None:
    embeddings = (scale * embed()).to(dtype).requires_grad_()
    loss = HardDistanceElasticLoss(metric=metric)(embeddings, PIDS)
    gradient = gradient_of(loss, embeddings)
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert gradient.dtype == dtype and gradient.isfinite().all() and gradient.any()
    assert loss.item() == pytest.approx(scan(embeddings.double(), metric).item(), rel=1e-5)


@every_metric
def test_queries_of_half_precision_and_a_dictionary_in_float32(metric: Any) -> None:
    queries, keys = embed().half(), embed(12, seed=1).float()
    ids = torch.arange(12) % 4
    loss = HardDistanceElasticLoss(metric=metric)
    expected = loss(queries.double(), keys.double(), PIDS, ids)
    found = loss(queries, keys, PIDS, ids)
    assert found.dtype == torch.float32 and found.item() == pytest.approx(expected.item(), rel=1e-5)


@every_metric
def test_autocast_does_not_coarsen_the_loss(metric: Any) -> None:
    embeddings = embed().float().requires_grad_()
    loss = HardDistanceElasticLoss(metric=metric)
    expected = loss(embeddings, PIDS)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(embeddings, PIDS)
        assert (embeddings @ embeddings.T).dtype == torch.bfloat16
    assert torch.equal(found, expected)
    assert torch.equal(gradient_of(found, embeddings), gradient_of(expected, embeddings))


@every_metric
@pytest.mark.parametrize("pids", [[4, 4, 4, 4], [0, 1, 2, 3], [0], []], ids=["one id", "no positives", "one", "empty"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_without_positives_or_negatives_the_loss_is_zero(metric: Any, pids: list[int], dtype: torch.dtype) -> None:
    embeddings = (1000 * embed(len(pids))).to(dtype).requires_grad_()
    loss = HardDistanceElasticLoss(metric=metric)(embeddings, torch.tensor(pids, dtype=torch.long))
    gradient = gradient_of(loss, embeddings)
    assert loss.item() == 0 and loss.shape == () and gradient.shape == embeddings.shape and not gradient.any()


@every_metric
@pytest.mark.parametrize(("queries", "keys"), [(0, 0), (0, 3), (3, 0)])
def test_no_queries_or_no_keys(metric: Any, queries: int, keys: int) -> None:
    q, k = embed(queries).requires_grad_(), embed(keys).requires_grad_()
    loss = HardDistanceElasticLoss(metric=metric)(q, k, PIDS[:queries], PIDS[:keys])
    of_queries, of_keys = torch.autograd.grad(loss, (q, k))
    assert loss.item() == 0 and of_queries.shape == q.shape and of_keys.shape == k.shape


@every_metric
def test_separated_identities_have_no_loss_and_no_gradient(metric: Any) -> None:
    embeddings = (10 * torch.eye(4, dtype=torch.float64)[PIDS] + 0.01 * embed(8, 4)).requires_grad_()
    loss = HardDistanceElasticLoss(metric=metric)(embeddings, PIDS)
    assert loss.item() == 0 and not gradient_of(loss, embeddings).any()


@every_metric
@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("rows", [[0, 1], [1, 2], list(range(8))], ids=["positives", "negatives", "all"])
def test_identical_embeddings_have_finite_gradients(metric: Any, value: float, rows: list[int]) -> None:
    embeddings = embed().float()
    embeddings[rows] = value
    embeddings.requires_grad_()
    loss = HardDistanceElasticLoss(metric=metric)(embeddings, PIDS)
    assert loss.isfinite() and loss >= 0 and gradient_of(loss, embeddings).isfinite().all()
    assert len(rows) < 8 or loss == 0


def test_copies_of_any_numbers_are_at_distance_zero() -> None:
    """The matrix product alone would put a copy at the root of its rounding error."""
    query = torch.full((1, 64), 0.1) + embed(1, 64).float()
    keys = torch.cat([query + 0.5, query])
    loss = HardDistanceElasticLoss()(query, keys, torch.tensor([0]), torch.tensor([0, 1]))
    assert loss.item() == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize(("offset", "tolerance"), [(0.0, 1e-3), (10.0, 1e-3), (100.0, 1e-3), (1000.0, 0.1)])
@pytest.mark.parametrize("on_gpu", [False, True])
def test_embeddings_far_from_the_origin(
    offset: float, tolerance: float, on_gpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all embeddings have a large part in common, float32 would have few digits left for their differences."""
    pids = torch.arange(64) // 8
    for seed in range(3):
        embeddings = (offset + 0.1 * embed(64, 128, seed)).float().requires_grad_()
        exact = embeddings.detach().double().requires_grad_()
        expected = scan_loss(exact, exact, *pair_masks(pids))
        expected.backward()
        with monkeypatch.context() as patch:
            if on_gpu:
                patch.setattr(torch.Tensor, "is_cuda", True)
            loss = HardDistanceElasticLoss()(embeddings, pids)
        loss.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
        assert embeddings.grad is not None and exact.grad is not None
        error = (embeddings.grad.double() - exact.grad).norm() / exact.grad.norm()
        # At 1000 float32 has steps of 6e-5, and neighbours at the boundary may change places.
        assert error < tolerance


@every_metric
def test_features_that_are_no_numbers_are_not_hidden(metric: Any) -> None:
    embeddings = embed()
    embeddings[3, 0] = torch.nan
    assert HardDistanceElasticLoss(metric=metric)(embeddings, PIDS).isnan()


@every_metric
def test_inputs_are_left_alone(metric: Any) -> None:
    queries, keys, ids = embed().requires_grad_(), embed(8, seed=1).requires_grad_(), PIDS.clone()
    mask = torch.ones(8, 8, dtype=torch.bool)
    HardDistanceElasticLoss(metric=metric)(queries, keys, ids, ids, mask, mask).backward()
    assert (
        torch.equal(queries, embed()) and torch.equal(keys, embed(8, seed=1)) and torch.equal(ids, PIDS) and mask.all()
    )


@every_metric
def test_keys_without_gradient_cost_none(metric: Any) -> None:
    queries, keys, ids = embed().requires_grad_(), embed(32, seed=1), torch.arange(32) % 4
    flops = []
    for wanted in (False, True):
        keys.requires_grad_(wanted)
        loss = HardDistanceElasticLoss(metric=metric)(queries, keys, PIDS, ids)
        with FlopCounterMode(display=False) as counter:
            loss.backward()
        flops.append(counter.get_total_flops())
        assert (keys.grad is not None) == wanted
    # Neither does a backward pass over products of all queries with all keys.
    assert flops == [0, 0] and queries.grad is not None


@every_metric
def test_only_keys_on_the_wrong_side_have_a_gradient(metric: Any) -> None:
    queries, keys = embed(4, 16).requires_grad_(), embed(400, 16, seed=1).requires_grad_()
    ids = torch.cat([torch.arange(8) % 4, torch.full((392,), 9)])
    loss = HardDistanceElasticLoss(metric=metric)(queries, keys, torch.arange(4), ids)
    rows = gradient_of(loss, keys).any(1)
    assert 8 < rows.sum() <= 16 and rows[:8].all()


def as_on_a_gpu(metric: Any, queries: Tensor, keys: Keys) -> Tensor:
    """The loss of tensors that say they were on a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "is_cuda", True)
        return HardDistanceElasticLoss(metric=metric).compare(queries, keys)


@every_metric
@pytest.mark.parametrize("seed", range(10))
def test_a_gpu_computes_the_same(metric: Any, seed: int) -> None:
    ids = torch.randint(4, (30,), generator=torch.Generator().manual_seed(seed))
    used = torch.rand(8, 30, generator=torch.Generator().manual_seed(seed)) < 0.8
    q, k = embed(seed=seed).requires_grad_(), embed(30, seed=seed + 100).requires_grad_()
    same = PIDS[:, None] == ids
    keys = Keys(k, ids, same & used, ~same & used)
    expected = HardDistanceElasticLoss(metric=metric).compare(q, keys)
    found = as_on_a_gpu(metric, q, keys)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for of_gpu, of_cpu in zip(torch.autograd.grad(found, (q, k)), torch.autograd.grad(expected, (q, k)), strict=True):
        torch.testing.assert_close(of_gpu, of_cpu, rtol=1e-8, atol=1e-10)


@every_metric
@pytest.mark.parametrize(("queries", "keys"), [(0, 0), (0, 3), (3, 0), (1, 1)])
def test_a_gpu_takes_empty_batches(metric: Any, queries: int, keys: int) -> None:
    q, k = embed(queries).requires_grad_(), embed(keys)
    same = PIDS[:queries, None] == PIDS[:keys]
    loss = as_on_a_gpu(metric, q, Keys(k, PIDS[:keys], same, ~same))
    assert loss.item() == 0 and not gradient_of(loss, q).any()


@every_metric
def test_nothing_depends_on_values_that_a_gpu_would_have_to_send(metric: Any) -> None:
    with FakeTensorMode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "is_cuda", True)
        embeddings = torch.randn(8, 5, requires_grad=True)
        HardDistanceElasticLoss(metric=metric)(embeddings, torch.zeros(8, dtype=torch.long)).backward()
        assert embeddings.grad is not None and embeddings.grad.shape == (8, 5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: there, a transfer to the host is an error")
@every_metric
def test_the_gpu_is_not_waited_for(metric: Any) -> None:
    embeddings, pids = embed().float().cuda().requires_grad_(), PIDS.cuda()
    loss = HardDistanceElasticLoss(metric=metric).cuda()
    loss(embeddings, pids).backward()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.autocast("cuda", torch.float16):
            value = loss(embeddings, pids)
        value.backward()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    on_cpu = HardDistanceElasticLoss(metric=metric)(embed().float(), PIDS)
    torch.testing.assert_close(value.detach().cpu(), on_cpu, rtol=1e-4, atol=1e-4)
