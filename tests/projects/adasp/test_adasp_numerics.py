"""Small temperatures, half precision, batches without pairs, and what a GPU would have to wait for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sparse_loops import KINDS
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException
from torch.nn.functional import normalize

from fastreid_ext.projects.adasp import AdaSPLoss

PIDS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
every_kind = pytest.mark.parametrize("kind", KINDS)
half = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])


def embed(batch: int = 8, dim: int = 32, seed: int = 0, *, spread: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(4, dim, dtype=torch.float64, generator=generator)
    noise = torch.randn(batch, dim, dtype=torch.float64, generator=generator)
    return centres[PIDS[:batch]] + spread * noise


def naive_loss(embeddings: Tensor, pids: Tensor, tau: float) -> Tensor:
    """Kind "sp-h" in exponentials, in the type of the embeddings."""
    exponentials = (normalize(embeddings) @ normalize(embeddings).T / tau).exp()
    losses = []
    for pid in pids.unique():
        rows = exponentials[pids == pid]
        losses.append((1 + rows[:, pids != pid].sum() * (1 / rows[:, pids == pid]).sum()).log())
    return torch.stack(losses).mean()


def gradient_of(loss: Tensor, embeddings: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(loss, embeddings)
    return gradient


@every_kind
@half
@pytest.mark.parametrize("scale", [1e-3, 1.0, 300.0])
@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0])
def test_half_precision_is_finite_where_exponentials_overflow(
    kind: Any, dtype: torch.dtype, scale: float, spread: float
) -> None:
    # Identity 1 looks like an image of identity 0: their similarity is what overflows.
    embeddings = embed(spread=spread)
    embeddings[PIDS == 1] = embeddings[0].clone()
    embeddings = (scale * embeddings).to(dtype).requires_grad_()
    for tau in (0.01, 0.001):
        assert not naive_loss(embeddings, PIDS, tau).isfinite()
        loss = AdaSPLoss(temperature=tau, kind=kind)(embeddings, PIDS)
        gradient = gradient_of(loss, embeddings)
        assert loss.dtype == torch.float32 and loss.isfinite()
        assert gradient.dtype == dtype and gradient.isfinite().all()
        # Of images that are all alike, half precision has no number small enough.
        assert gradient.any() or not spread
        exact = AdaSPLoss(temperature=tau, kind=kind)(embeddings.double(), PIDS)
        assert loss.item() == pytest.approx(exact.item(), rel=1e-4, abs=1e-4)


def test_the_naive_form_is_the_loss_where_nothing_overflows() -> None:
    embeddings = embed()
    torch.testing.assert_close(
        naive_loss(embeddings, PIDS, 0.01), AdaSPLoss(temperature=0.01, kind="sp-h")(embeddings, PIDS)
    )


@every_kind
def test_autocast_does_not_coarsen_the_loss(kind: Any) -> None:
    embeddings = embed().float().requires_grad_()
    loss = AdaSPLoss(temperature=0.01, kind=kind)
    expected = loss(embeddings, PIDS)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(embeddings, PIDS)
        coarse = embeddings @ embeddings.T
    assert coarse.dtype == torch.bfloat16
    assert torch.equal(found, expected)
    assert torch.equal(gradient_of(found, embeddings), gradient_of(expected, embeddings))


@every_kind
@half
def test_features_of_an_autocast_network(kind: Any, dtype: torch.dtype) -> None:
    weight = embed(8, 16, seed=3).float().requires_grad_()
    with torch.autocast("cpu", dtype):
        features = embed(8, 8).float() @ weight
        assert features.dtype == dtype
        loss = AdaSPLoss(temperature=0.01, kind=kind)(features, PIDS)
    gradient = gradient_of(loss, weight)
    assert loss.isfinite() and gradient.isfinite().all() and gradient.any()


@every_kind
@pytest.mark.parametrize("pids", [[4, 4, 4, 4], [-1, -1], [0], []], ids=["one id", "two images", "one", "empty"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize("tau", [0.01, 5.0])
def test_one_identity_is_zero_with_a_graph(kind: Any, pids: list[int], dtype: torch.dtype, tau: float) -> None:
    embeddings = (1000 * embed(len(pids))).to(dtype).requires_grad_()
    loss = AdaSPLoss(temperature=tau, kind=kind)(embeddings, torch.tensor(pids, dtype=torch.long))
    assert loss.item() == 0 and loss.shape == ()
    gradient = gradient_of(loss, embeddings)
    assert gradient.shape == embeddings.shape and not gradient.any()


@every_kind
def test_identities_of_one_image(kind: Any) -> None:
    """The only positive is the image itself, with cosine 1."""
    embeddings = embed(4, 3).requires_grad_()
    cosines = normalize(embeddings) @ normalize(embeddings).T
    others = (cosines / 0.1).masked_fill(torch.eye(4, dtype=torch.bool), -torch.inf)
    expected = torch.nn.functional.softplus(others.logsumexp(1) - 1 / 0.1).mean()
    loss = AdaSPLoss(temperature=0.1, kind=kind)(embeddings, torch.arange(4))
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(gradient_of(loss, embeddings), gradient_of(expected, embeddings), rtol=0, atol=1e-9)


@every_kind
@pytest.mark.parametrize("tau", [0.01, 0.04, 50.0])
@pytest.mark.parametrize("rows", [[0], [0, 1], list(range(8))], ids=["one image", "one identity", "all"])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_rows_without_direction_or_alike_are_finite(kind: Any, tau: float, rows: list[int], value: float) -> None:
    embeddings = embed().float()
    embeddings[rows] = value
    embeddings.requires_grad_()
    loss = AdaSPLoss(temperature=tau, kind=kind)(embeddings, PIDS)
    assert loss.isfinite() and loss > 0
    assert gradient_of(loss, embeddings).isfinite().all()


@every_kind
@pytest.mark.parametrize("scale", [1e-30, 1e-15, 1e-6, 1e6, 1e15])
def test_short_and_long_embeddings_are_finite(kind: Any, scale: float) -> None:
    embeddings = (embed() * scale).float().requires_grad_()
    loss = AdaSPLoss(temperature=0.01, kind=kind)(embeddings, PIDS)
    assert loss.isfinite() and gradient_of(loss, embeddings).isfinite().all()
    if scale > 1e-10:
        expected = AdaSPLoss(temperature=0.01, kind=kind)(embed(), PIDS)
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)


@every_kind
def test_features_that_are_no_numbers_are_not_hidden(kind: Any) -> None:
    embeddings = embed()
    embeddings[3, 0] = torch.nan
    assert AdaSPLoss(kind=kind)(embeddings, PIDS).isnan()


@every_kind
def test_separated_identities_have_a_small_loss(kind: Any) -> None:
    embeddings = torch.eye(4, dtype=torch.float64)[PIDS]
    assert AdaSPLoss(kind=kind)(embeddings, PIDS) < 1e-6 < AdaSPLoss(kind=kind)(embed(), PIDS)


@every_kind
def test_descent_separates_identities(kind: Any) -> None:
    embeddings = embed(dim=4).requires_grad_()
    loss = AdaSPLoss(kind=kind)
    optimizer = torch.optim.Adam([embeddings], 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        loss(embeddings, PIDS).backward()
        optimizer.step()
    cosines = normalize(embeddings.detach()) @ normalize(embeddings.detach()).T
    same = PIDS[:, None] == PIDS
    assert cosines[same].min() > cosines[~same].max() + 0.2


@every_kind
def test_inputs_are_left_alone(kind: Any) -> None:
    embeddings, pids = embed(), PIDS.clone()
    AdaSPLoss(kind=kind)(embeddings.requires_grad_(), pids).backward()
    assert torch.equal(embeddings, embed()) and torch.equal(pids, PIDS)


@every_kind
def test_nothing_depends_on_values_that_a_gpu_would_have_to_send(kind: Any) -> None:
    with FakeTensorMode():
        embeddings = torch.randn(8, 5, requires_grad=True)
        pids = torch.zeros(8, dtype=torch.long)
        AdaSPLoss(kind=kind)(embeddings, pids).backward()
        assert embeddings.grad is not None and embeddings.grad.shape == (8, 5)
        for reads in (lambda: pids.sum().item(), lambda: embeddings[pids == 0], lambda: pids.unique()):
            with pytest.raises((DataDependentOutputException, DynamicOutputShapeException)):
                reads()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: there, a transfer to the host is an error")
@every_kind
def test_the_gpu_is_not_waited_for(kind: Any) -> None:
    embeddings = embed().float().cuda().requires_grad_()
    pids = PIDS.cuda()
    loss = AdaSPLoss(kind=kind).cuda()
    loss(embeddings, pids).backward()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.autocast("cuda", torch.float16):
            value = loss(embeddings, pids)
        value.backward()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    on_cpu = AdaSPLoss(kind=kind)(embed().float(), PIDS)
    torch.testing.assert_close(value.detach().cpu(), on_cpu, rtol=1e-4, atol=1e-4)
