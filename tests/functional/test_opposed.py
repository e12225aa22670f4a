"""Two log-sum-exps of a row against loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastreid_ext.functional.opposed import opposed_logsumexp


def loops(values: Tensor, chosen: Tensor) -> tuple[list[float], list[float]]:
    lowest = torch.finfo(values.dtype).min
    of_chosen, of_others = [], []
    for row, mask in zip(values.tolist(), chosen.tolist(), strict=True):
        first = [math.exp(-value) for value, taken in zip(row, mask, strict=True) if taken]
        second = [math.exp(value) for value, taken in zip(row, mask, strict=True) if not taken]
        of_chosen.append(math.log(sum(first)) if first else lowest)
        of_others.append(math.log(sum(second)) if second else lowest)
    return of_chosen, of_others


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(1, 7), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_equals_the_loops(rows: int, columns: int, share: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = 5 * torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    chosen = torch.rand(rows, columns, generator=generator) < share
    before = values.clone()
    for found, expected in zip(opposed_logsumexp(values, chosen), loops(values, chosen), strict=True):
        assert found.tolist() == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert torch.equal(values, before)


def test_gradients() -> None:
    torch.manual_seed(0)
    values = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    chosen = torch.rand(4, 5) < 0.5
    assert torch.autograd.gradcheck(lambda x: opposed_logsumexp(x, chosen), (values,))


def test_large_numbers_do_not_overflow() -> None:
    values = torch.tensor([[900.0, -900.0, 901.0, -1e4]], requires_grad=True)
    chosen = torch.tensor([[True, True, False, False]])
    of_chosen, of_others = opposed_logsumexp(values, chosen)
    assert (of_chosen.item(), of_others.item()) == (900.0, 901.0)
    (of_chosen + of_others).sum().backward()
    assert values.grad is not None and values.grad.tolist() == [[0.0, -1.0, 1.0, 0.0]]


@pytest.mark.parametrize("taken", [True, False])
def test_a_sum_over_nothing_is_the_lowest_number_without_a_gradient(taken: bool) -> None:
    values = torch.randn(2, 3, requires_grad=True)
    result = opposed_logsumexp(values, torch.full((2, 3), taken))[int(taken)]
    assert result.tolist() == [torch.finfo(torch.float32).min] * 2
    result.sum().backward()
    assert values.grad is not None and not values.grad.any()


def test_gradients_of_gradients_are_refused() -> None:
    values = torch.randn(2, 3, requires_grad=True)
    of_chosen, _ = opposed_logsumexp(values, torch.eye(2, 3, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(of_chosen.square().sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()
