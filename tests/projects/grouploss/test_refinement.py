"""Label propagation and its similarities against the paper's formulas, and what they promise of it (Baum and Eagon)."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from group_loops import consistency, correlation, refined_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastreid_ext.projects.grouploss import pearson_similarities, refine

sizes: dict[str, Any] = {"seed": st.integers(0, 2**30), "images": st.integers(1, 6), "classes": st.integers(1, 5)}
every_step = pytest.mark.parametrize("steps", [1, 2, 5])


def random(seed: int, *shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def draw_x(seed: int, images: int, classes: int, gaps: float = 0.0, sharpness: float = 1.0) -> Tensor:
    """Rows of probabilities, some of them 0, but one in a row at least."""
    scores = (1 / random(seed, images, classes)).log() * sharpness
    empty = random(seed + 1, images, classes) < gaps
    kept = random(seed + 2, images, classes).argmax(1, keepdim=True)
    return scores.masked_fill(empty.scatter(1, kept, False), -torch.inf).softmax(1)


def draw_w(seed: int, images: int, gaps: float = 0.0, *, symmetric: bool = True, diagonal: bool = False) -> Tensor:
    w = random(seed + 3, images, images) * (random(seed + 4, images, images) >= gaps)
    w = (w + w.T) / 2 if symmetric else w
    return w if diagonal else w.fill_diagonal_(0)


def refined(x: Tensor, w: Tensor, steps: int, fixed: Tensor | None = None) -> Tensor:
    return refine(x.log(), w, steps, fixed).exp()


@settings(max_examples=150, deadline=None)
@given(**sizes, steps=st.integers(0, 5), gaps=st.sampled_from(["", "x", "w", "both"]), fixed=st.booleans())
def test_equals_the_loop(seed: int, images: int, classes: int, steps: int, gaps: str, fixed: bool) -> None:
    # After a step without support where there was mass, the formula's 0 is a small number here.
    steps = min(steps, 1) if gaps == "both" else steps
    x = draw_x(seed, images, classes, 0.4 if gaps in ("x", "both") else 0)
    w = draw_w(seed, images, 0.5 if gaps in ("w", "both") else 0, symmetric=seed % 2 == 0)
    mask = (random(seed, images) < 0.4) if fixed else None
    rows = mask.nonzero().flatten().tolist() if mask is not None else []
    expected = torch.tensor(refined_rows(x.tolist(), w.tolist(), steps, rows), dtype=torch.float64)
    torch.testing.assert_close(refined(x, w, steps, mask), expected, rtol=1e-10, atol=1e-10)


@settings(max_examples=120, deadline=None)
@given(
    **sizes,
    steps=st.integers(1, 10),
    gaps=st.sampled_from([0.0, 0.5, 1.0]),
    symmetric=st.booleans(),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    sharpness=st.sampled_from([1.0, 1e3]),
)
def test_rows_stay_distributions(
    seed: int, images: int, classes: int, steps: int, gaps: float, symmetric: bool, scale: float, sharpness: float
) -> None:
    x = draw_x(seed, images, classes, gaps / 2, sharpness)
    w = scale * draw_w(seed, images, gaps, symmetric=symmetric)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-3)):
        found = refine(x.log().to(dtype), w.to(dtype), steps).exp()
        assert (found >= 0).all() and found.dtype == dtype
        torch.testing.assert_close(found.sum(1), torch.ones(images, dtype=dtype), rtol=tolerance, atol=tolerance)
        assert not found[x == 0].any()


@settings(max_examples=150, deadline=None)
@given(
    **sizes,
    gaps=st.sampled_from([0.0, 0.3, 0.6]),
    diagonal=st.booleans(),
    sharpness=st.sampled_from([0.1, 1.0, 10.0]),
    share=st.floats(0, 1),
)
def test_consistency_never_decreases(
    seed: int, images: int, classes: int, gaps: float, diagonal: bool, sharpness: float, share: float
) -> None:
    """Eqs. 10 and 11, and strictly where something moves."""
    x = draw_x(seed, images, classes, gaps, sharpness)
    w = draw_w(seed, images, gaps, diagonal=diagonal)
    for _ in range(4):
        after = refined(x, w, 1)
        before, then = (consistency(rows.tolist(), w.tolist()) for rows in (x, after))
        between = consistency((share * after + (1 - share) * x).tolist(), w.tolist())
        assert then >= before - 1e-12 and between >= before - 1e-12
        assert then > before or (after - x).abs().max() < 1e-5
        x = after


def test_consistency_may_decrease_where_similarities_are_not_symmetric() -> None:
    """That is, the test above can fail."""
    falls = []
    for seed in range(50):
        x, w = draw_x(seed, 4, 3), draw_w(seed, 4, 0.5, symmetric=False)
        falls.append(consistency(x.tolist(), w.tolist()) - consistency(refined(x, w, 1).tolist(), w.tolist()))
    assert max(falls) > 1e-3


@pytest.mark.parametrize("steps", range(6))
def test_two_anchors_pull_by_hand(steps: int) -> None:
    """C is more like A than like B (Fig. 2)."""
    x = torch.tensor([[1, 0], [0, 1], [0.5, 0.5]], dtype=torch.float64)
    w = torch.tensor([[0, 0.5, 0.9], [0.5, 0, 0.1], [0.9, 0.1, 0]], dtype=torch.float64)
    found = refined(x, w, steps, torch.tensor([True, True, False]))
    of_a, of_b = 0.9**steps, 0.1**steps
    expected = torch.tensor([[1, 0], [0, 1], [of_a / (of_a + of_b), of_b / (of_a + of_b)]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@every_step
def test_rows_without_support_and_fixed_rows_keep_their_values(steps: int) -> None:
    log_x, w = draw_x(1, 6, 4).log(), draw_w(1, 6)
    w[2] = 0
    assert torch.equal(refine(log_x, torch.zeros_like(w), steps), log_x)
    fixed = torch.tensor([True, False, False, False, True, False])
    found = refine(log_x, w, steps, fixed)
    for row in range(6):
        assert torch.equal(found[row], log_x[row]) == (row in (0, 2, 4))
    # What supports only classes that a row has no mass in, is no support.
    x = torch.tensor([[0.3, 0.7, 0], [0, 0, 1]], dtype=torch.float64)
    assert torch.equal(refine(x.log(), 1 - torch.eye(2, dtype=torch.float64), steps), x.log())


@every_step
def test_a_class_without_mass_stays_without(steps: int) -> None:
    x = draw_x(3, 6, 5, 0.5)
    assert (x == 0).sum() > 5
    assert torch.equal(refine(x.log(), draw_w(3, 6, diagonal=True), steps).isneginf(), x == 0)


def test_a_class_that_only_others_have_support_for_stays_possible() -> None:
    """The formula's 0 would be an infinite loss."""
    x = torch.tensor([[0.5, 0.5], [0, 1]], dtype=torch.float64)
    for dtype, lowest in ((torch.float64, -540), (torch.float32, -70)):
        log_x = x.log().to(dtype)
        found = refine(log_x, 1 - torch.eye(2, dtype=dtype), 1)
        assert lowest < found[0, 0] < -60 and found[0, 1] == 0 and torch.equal(found[1], log_x[1])
        # It is as if that support were a constant, even of images that have mass in the class and are not similar.
        three = torch.tensor([[0.5, 0.5], [0, 1], [1, 0]], dtype=dtype).log()
        w = torch.tensor([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=dtype, requires_grad=True)
        (gradient,) = torch.autograd.grad(refine(three, w, 1)[0, 0], w)
        assert gradient.abs().max() < 10


def test_one_certain_image_among_others_is_a_fixed_point() -> None:
    x = torch.eye(3, dtype=torch.float64)[[0, 0, 1, 2]]
    assert torch.equal(refined(x, draw_w(4, 4), 4), x)


@every_step
def test_neither_order_nor_names_nor_the_scale_of_rows_matter(steps: int) -> None:
    x, w, fixed = draw_x(5, 6, 4), draw_w(5, 6), random(5, 6) < 0.3
    expected = refined(x, w, steps, fixed)
    rows, columns = random(6, 6).argsort(), random(7, 4).argsort()
    found = refined(x[rows][:, columns], w[rows][:, rows], steps, fixed[rows])
    torch.testing.assert_close(found, expected[rows][:, columns], rtol=1e-12, atol=1e-12)
    scaled = refined(x, w * (10 * random(8, 6, 1) + 0.1), steps, fixed)
    torch.testing.assert_close(scaled, expected, rtol=1e-12, atol=1e-12)
    tiny = refine(x.float().log(), 1e-30 * w.float(), steps, fixed).exp()
    torch.testing.assert_close(tiny.double(), expected, rtol=1e-4, atol=1e-4)


@every_step
def test_unlikely_classes_do_not_underflow(steps: int) -> None:
    """Of exp(-300), float32 knows nothing."""
    scores = 3 * random(9, 6, 5) - torch.tensor([0, 0, 300, 50, 100], dtype=torch.float64)
    log_x, w = scores.log_softmax(1), draw_w(9, 6)
    expected = refine(log_x, w, steps)
    torch.testing.assert_close(refine(log_x.float(), w.float(), steps).double(), expected, rtol=1e-5, atol=1e-5)
    slow = refined_rows(log_x.exp().tolist(), w.tolist(), 1)
    torch.testing.assert_close(refine(log_x, w, 1), torch.tensor(slow, dtype=torch.float64).log(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("steps", range(5))
def test_gradients(steps: int) -> None:
    scores, w = (3 * random(10, 5, 4)).requires_grad_(), draw_w(10, 5).requires_grad_()
    fixed = torch.tensor([False, True, False, False, False])
    for mask in (None, fixed):
        assert torch.autograd.gradcheck(lambda s, v, m=mask: refine(s.log_softmax(1), v, steps, m), (scores, w))


def test_inputs_are_left_alone() -> None:
    log_x, w, fixed = draw_x(11, 5, 4).log(), draw_w(11, 5), random(11, 5) < 0.4
    before = [part.clone() for part in (log_x, w, fixed)]
    refine(log_x, w, 3, fixed)
    assert all(torch.equal(part, copy) for part, copy in zip((log_x, w, fixed), before, strict=True))


def test_similarities() -> None:
    rows = torch.randn(5, 7, dtype=torch.float64)
    found = {name: pearson_similarities(rows, name) for name in ("clamp", "shift")}  # type: ignore[arg-type]
    numpy = torch.corrcoef(rows).fill_diagonal_(0)
    assert numpy.min() < -0.1
    torch.testing.assert_close(found["clamp"], numpy.clamp(min=0))
    torch.testing.assert_close(found["shift"], (numpy - numpy.min()).fill_diagonal_(0))
    assert found["clamp"][0, 1].item() == pytest.approx(max(0, correlation(rows[0], rows[1]).item()), abs=1e-12)
    for name, w in found.items():
        assert (w >= 0).all() and not w.diagonal().any() and torch.allclose(w, w.T, rtol=1e-14, atol=0), name
    # Where none is negative, nothing is subtracted.
    alike = torch.arange(7.0).double() + 0.1 * rows
    torch.testing.assert_close(pearson_similarities(alike, "shift"), pearson_similarities(alike, "clamp"))


@pytest.mark.parametrize("similarity", ["clamp", "shift"])
@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1000.1])
@pytest.mark.parametrize("dim", [1, 7, 100])
def test_embeddings_whose_numbers_are_equal_are_like_no_others(similarity: Any, value: float, dim: int) -> None:
    for dtype in (torch.float32, torch.float64):
        rows = torch.cat([torch.full((2, dim), value, dtype=dtype), torch.arange(dim, dtype=dtype)[None]])
        rows.requires_grad_()
        found = pearson_similarities(rows, similarity)
        assert found.abs().max() < 1e-6
        (gradient,) = torch.autograd.grad(found.sum(), rows)
        assert gradient.isfinite().all() and gradient.abs().max() < 1e3
