"""Large logits, half precision, batches without support, and what a GPU would have to wait for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from group_loops import draw_batch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.nn.functional import cross_entropy

from fastreid_ext.projects.grouploss import GroupLoss, pearson_similarities, refine

PIDS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
every_form = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
every_similarity = pytest.mark.parametrize("similarity", ["clamp", "shift"])
half = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
NOBODY, EVERYBODY = torch.zeros(8, dtype=torch.bool), torch.ones(8, dtype=torch.bool)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def gradients_of(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True)


def assert_finite(loss: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    gradients = gradients_of(loss, *inputs)
    assert loss.isfinite() and loss.dtype == torch.float32 and loss >= 0
    for gradient, leaf in zip(gradients, inputs, strict=True):
        assert gradient.isfinite().all() and gradient.dtype == leaf.dtype
    return gradients


@every_form
@half
@pytest.mark.parametrize("steps", [0, 1, 4, 10])
@pytest.mark.parametrize("temperature", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 1e3, 6e4])
def test_half_precision_is_finite(
    sparse: bool, dtype: torch.dtype, steps: int, temperature: float, scale: float
) -> None:
    loss = GroupLoss(temperature=temperature, steps=steps, sparse=sparse)
    for seed in range(3):
        embeddings = (scale * draw(8, 5, seed=seed).clamp(-1, 1)).to(dtype).requires_grad_()
        logits = (scale * draw(8, 6, seed=seed + 9).clamp(-1, 1)).to(dtype).requires_grad_()
        assert_finite(loss(embeddings, logits, PIDS, torch.arange(8) == seed), embeddings, logits)


@every_form
@every_similarity
@half
def test_half_precision_is_computed_in_float32(sparse: bool, similarity: Any, dtype: torch.dtype) -> None:
    embeddings, logits = (300 * draw(8, 16)).to(dtype), (3 * draw(8, 6, seed=1)).to(dtype)
    embeddings[PIDS == 1] += embeddings[2]
    loss = GroupLoss(temperature=1.0, similarity=similarity, sparse=sparse)
    exact = [x.double().requires_grad_() for x in (embeddings, logits)]
    expected = loss(*exact, PIDS, NOBODY)
    leaves = [x.requires_grad_() for x in (embeddings, logits)]
    found = loss(*leaves, PIDS, NOBODY)
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    for rounded, wide in zip(assert_finite(found, *leaves), gradients_of(expected, *exact), strict=True):
        assert (rounded.double() - wide).norm() < 0.01 * wide.norm()


@pytest.mark.parametrize("steps", [1, 5, 6, 10])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_of_the_smallest_support_are_finite(steps: int, dtype: torch.dtype) -> None:
    """The reciprocal of a number just above the smallest one, times what later steps make of it."""
    w = 1 - torch.eye(2, dtype=dtype)
    smallest = -int(math.log(torch.finfo(dtype).tiny))
    for gap in [*range(60, 100), *range(smallest - 5, smallest + 5)]:
        for other in (0, 2, 4):
            scores = torch.tensor([[0, other], [0, gap]], dtype=dtype).requires_grad_()
            value = -refine(scores.log_softmax(1), w.requires_grad_(), steps)[:, 0].mean()
            of_scores, of_w = gradients_of(value, scores, w)
            assert value.isfinite() and of_scores.isfinite().all() and of_w[w > 0].isfinite().all()


@every_form
@half
def test_many_classes(sparse: bool, dtype: torch.dtype) -> None:
    pids = torch.randint(11318, (4,)).repeat_interleave(3)
    embeddings, logits = (x.to(dtype).requires_grad_() for x in (60 * draw(12, 32), 10 * draw(12, 11318)))
    loss = GroupLoss(temperature=1.0, steps=4, sparse=sparse)
    of_logits = assert_finite(loss(embeddings, logits, pids), embeddings, logits)[1]
    outside = torch.ones(11318, dtype=torch.bool).index_fill(0, pids, False)
    assert of_logits[:, pids].any() and (not sparse or not of_logits[:, outside].any())


@every_form
@pytest.mark.parametrize("backward_inside", [False, True])
def test_autocast_does_not_coarsen_the_loss(sparse: bool, backward_inside: bool) -> None:
    embeddings, logits = (draw(8, n, seed=n).float().requires_grad_() for n in (5, 6))
    loss = GroupLoss(temperature=1.0, sparse=sparse)
    with torch.autocast("cpu", torch.bfloat16):
        found = loss(embeddings, logits, PIDS, NOBODY)
        assert (embeddings @ embeddings.T).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16, enabled=backward_inside):
        gradients = gradients_of(found, embeddings, logits)
    expected = loss(embeddings, logits, PIDS, NOBODY)
    assert torch.equal(found, expected)
    torch.testing.assert_close(gradients, gradients_of(expected, embeddings, logits))


@every_form
@half
def test_outputs_of_an_autocast_network(sparse: bool, dtype: torch.dtype) -> None:
    weight, classifier = draw(5, 16, seed=1).float().requires_grad_(), draw(16, 6, seed=2).float().requires_grad_()
    with torch.autocast("cpu", dtype):
        features = draw(8, 5).float() @ weight
        logits = features @ classifier
        assert logits.dtype == dtype
        loss = GroupLoss(sparse=sparse)(features, logits, PIDS, NOBODY)
    assert all(gradient.any() for gradient in assert_finite(loss, weight, classifier))


@every_form
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_impossible_classes(sparse: bool, steps: int) -> None:
    """A logit of minus infinity is a class that is not there; of the true class, it is what it is for cross entropy."""
    batch = draw_batch(1, anchors=0)
    loss = GroupLoss(temperature=1.0, steps=steps, sparse=sparse)
    logits = batch.logits.clone()
    logits[:, 0] = -torch.inf
    logits.requires_grad_()
    found = loss(batch.embeddings, logits, batch.pids, batch.anchors)
    expected = loss(batch.embeddings, logits[:, 1:], batch.pids - 1, batch.anchors)
    assert found.isfinite() and found.item() == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(*(gradients_of(value, logits)[0] for value in (found, expected)))
    wrong = batch.logits.clone()
    wrong[2, batch.pids[2]] = -torch.inf
    value = loss(batch.embeddings, wrong.requires_grad_(), batch.pids, batch.anchors)
    (gradient,) = gradients_of(value, wrong)
    assert value == torch.inf and gradient.isfinite().all() and gradient[2, batch.pids[2]] < 0
    # Of an anchor nobody asks.
    assert loss(batch.embeddings, wrong, batch.pids, torch.arange(8) == 2).isfinite()


@every_form
def test_numbers_that_are_none_are_not_hidden(sparse: bool) -> None:
    for place in (0, 1):
        inputs = [draw(8, 5), draw(8, 6, seed=1)]
        inputs[place][3, 1] = torch.nan
        assert GroupLoss(sparse=sparse)(*inputs, PIDS, NOBODY).isnan()


@pytest.mark.parametrize("steps", [1, 4])
def test_without_support_it_is_cross_entropy(steps: int) -> None:
    orthogonal = torch.eye(16, dtype=torch.float64)[::2] - torch.eye(16, dtype=torch.float64)[1::2]
    logits = draw(8, 6).requires_grad_()
    for embeddings in (orthogonal, torch.zeros(8, 5), torch.ones(8, 1), torch.full((8, 4), 3.0)):
        embeddings.requires_grad_()
        loss = GroupLoss(temperature=1.0, steps=steps)(embeddings, logits, PIDS, NOBODY)
        expected = cross_entropy(logits, PIDS)
        torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
        of_embeddings, of_logits = gradients_of(loss, embeddings, logits)
        assert of_embeddings.isfinite().all()
        torch.testing.assert_close(of_logits, gradients_of(expected, logits)[0], rtol=1e-10, atol=1e-12)
    one = GroupLoss(temperature=1.0, steps=steps, anchors=1)(draw(1, 5), logits[:1], PIDS[:1])
    torch.testing.assert_close(one, cross_entropy(logits[:1], PIDS[:1]), rtol=1e-12, atol=0)


@every_form
@pytest.mark.parametrize("images", [0, 1, 8])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_nothing_to_learn_is_zero_with_a_graph(sparse: bool, images: int, dtype: torch.dtype) -> None:
    """No image, all anchors, or one class."""
    embeddings, logits = (draw(images, n).to(dtype).requires_grad_() for n in (5, 6))
    loss = GroupLoss(sparse=sparse)
    one_class = logits if sparse else logits[:, :1]
    values = [loss(embeddings, one_class, torch.zeros(images, dtype=torch.long))]
    values.append(loss(embeddings, logits, PIDS[:images], EVERYBODY[:images]))
    for value in values:
        of_embeddings, of_logits = gradients_of(value, embeddings, logits)
        assert value.shape == () and value.item() == 0 and value.requires_grad
        assert not of_embeddings.any() and not of_logits.any() and of_logits.shape == logits.shape


@every_form
@every_similarity
def test_every_identity_once(sparse: bool, similarity: Any) -> None:
    """Nobody is drawn as an anchor."""
    embeddings, logits, pids = draw(8, 5).requires_grad_(), draw(8, 9, seed=1).requires_grad_(), torch.arange(8)
    loss = GroupLoss(temperature=1.0, anchors=1, similarity=similarity, sparse=sparse)
    found = loss(embeddings, logits, pids)
    assert torch.equal(found, loss(embeddings, logits, pids, NOBODY)) and found > 0
    assert all(gradient.isfinite().all() and gradient.any() for gradient in gradients_of(found, embeddings, logits))


@every_form
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_a_true_class_without_support_is_finite_and_learnt(sparse: bool, steps: int) -> None:
    """Image 1 is like the anchors of another identity alone, and its own identity's anchor is like nobody."""
    pids, anchors = torch.tensor([0, 0, 1, 1]), torch.tensor([True, False, True, True])
    rows = torch.tensor([[-1.0, 0, 1, 0], [0, 1, 0, -1], [0, 1, 0.1, -1], [0, 2, 0.1, -2]])
    assert pearson_similarities(rows)[1, 0] == 0 < pearson_similarities(rows)[1, 2]
    loss = GroupLoss(temperature=1.0, steps=steps, sparse=sparse)
    logits = torch.zeros(4, 3, requires_grad=True)
    before = loss(rows, logits, pids, anchors)
    (gradient,) = assert_finite(before, logits)
    assert before > 50 and gradient[1, 0] < 0 < gradient[1, 1] and not gradient[anchors].any()
    assert loss(rows, logits - 0.1 * gradient, pids, anchors) < before - 0.01


@every_form
@every_similarity
def test_descent_makes_identities_alike(sparse: bool, similarity: Any) -> None:
    embeddings, classifier = draw(8, 6).requires_grad_(), draw(6, 4, seed=1).requires_grad_()
    loss = GroupLoss(temperature=2.0, steps=2, similarity=similarity, sparse=sparse)
    optimizer = torch.optim.Adam([embeddings, classifier], 0.05)
    losses = []
    for _ in range(80):
        value = loss(embeddings, embeddings @ classifier, PIDS)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert sum(losses[-5:]) < 0.1 * sum(losses[:5])
    same = (PIDS[:, None] == PIDS).fill_diagonal_(False)
    correlations = torch.corrcoef(embeddings.detach())
    different = ~same & ~torch.eye(8, dtype=torch.bool)
    assert correlations[same].mean() > correlations[different].mean() + 0.5


@every_form
@every_similarity
@pytest.mark.parametrize("given", [False, True])
def test_nothing_depends_on_values_that_a_gpu_would_have_to_send(sparse: bool, similarity: Any, given: bool) -> None:
    # On a CPU, wrong pids are looked for, which takes their values.
    with FakeTensorMode(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "is_cuda", True)
        embeddings, logits = torch.randn(8, 5, requires_grad=True), torch.randn(8, 9, requires_grad=True)
        pids, anchors = torch.zeros(8, dtype=torch.long), torch.zeros(8, dtype=torch.bool)
        loss = GroupLoss(similarity=similarity, sparse=sparse)
        value = loss(embeddings, logits, pids, *((anchors, torch.zeros(8, 8)) if given else ()))
        (value + loss.from_outputs({"features": embeddings, "pred_class_logits": logits}, pids)).backward()
        assert embeddings.grad is not None and logits.grad is not None and logits.grad.shape == (8, 9)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: there, a transfer to the host is an error")
@every_form
@every_similarity
def test_the_gpu_is_not_waited_for(sparse: bool, similarity: Any) -> None:
    embeddings, logits = (draw(8, n, seed=n).float().cuda().requires_grad_() for n in (5, 6))
    pids, anchors = PIDS.cuda(), NOBODY.cuda()
    loss = GroupLoss(temperature=1.0, similarity=similarity, sparse=sparse).cuda()
    loss(embeddings, logits, pids).backward()
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss(embeddings, logits, pids).backward()
        with torch.autocast("cuda", torch.float16):
            value = loss(embeddings, logits, pids, anchors)
        value.backward()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    on_cpu = loss(*(x.detach().cpu() for x in (embeddings, logits, pids, anchors)))
    torch.testing.assert_close(value.detach().cpu(), on_cpu, rtol=1e-4, atol=1e-4)


@every_form
def test_compiled_it_is_the_same(sparse: bool) -> None:
    """In one graph, whether anchors are given or drawn."""
    loss = GroupLoss(temperature=1.0, similarity="shift", sparse=sparse)
    embeddings, logits = (draw(8, n, seed=n).requires_grad_() for n in (5, 6))
    compiled = torch.compile(loss, backend="eager", fullgraph=True)
    found, expected = (form(embeddings, logits, PIDS, NOBODY) for form in (compiled, loss))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients_of(found, embeddings, logits), gradients_of(expected, embeddings, logits))
    assert compiled(embeddings, logits, PIDS).isfinite()


@every_form
def test_pids_that_are_no_columns_are_refused(sparse: bool) -> None:
    embeddings, logits = draw(8, 5), draw(8, 6)
    for pids in (PIDS - PIDS.max() - 1, PIDS + 6):
        with pytest.raises(ValueError, match=r"columns of the logits, 0 to 5, but some are -?\d+ or -?\d+"):
            GroupLoss(sparse=sparse)(embeddings, logits, pids)


@every_form
def test_what_a_head_gives_is_checked(sparse: bool) -> None:
    loss = GroupLoss(sparse=sparse)
    outputs = {"features": draw(8, 5), "pred_class_logits": draw(8, 6)}
    with pytest.raises(ValueError, match=r"\(7, 5\) and \(8,\)"):
        loss.from_outputs({**outputs, "features": draw(7, 5)}, PIDS)
    with pytest.raises(ValueError, match=r"relations .*\(8, 8\), not \(8, 7\)"):
        loss.from_outputs({**outputs, "relations": torch.zeros(8, 7)}, PIDS)
    nobody = {name: value[:0].requires_grad_() for name, value in outputs.items()}
    assert loss.from_outputs(nobody, PIDS[:0]).item() == 0
