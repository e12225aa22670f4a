"""Reductions over groups of rows against loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

from fastreid_ext.functional.grouped import first_of_each, grouped_logsumexp

PIDS = torch.tensor([7, -1, 7, 3, -1, 7])


def groups_of(pids: Tensor) -> Tensor:
    return first_of_each(pids[:, None] == pids)


def test_first_of_each() -> None:
    assert groups_of(PIDS).tolist() == [0, 1, 0, 3, 1, 0]
    assert groups_of(torch.tensor([4])).tolist() == [0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=12))
def test_first_of_each_is_the_first_place(pids: list[int]) -> None:
    assert groups_of(torch.tensor(pids)).tolist() == [pids.index(pid) for pid in pids]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.floats(-900, 900)), min_size=6, max_size=12))
def test_equals_the_loop(rows: list[tuple[int, float]]) -> None:
    groups, values = torch.tensor([g for g, _ in rows]), torch.tensor([v for _, v in rows], dtype=torch.float64)
    found = grouped_logsumexp(values, groups)
    for group in range(len(rows)):
        members = [value for of, value in rows if of == group]
        top = max(members, default=0)
        expected = top + math.log(sum(math.exp(value - top) for value in members)) if members else None
        lowest = torch.finfo(torch.float64).min
        assert found[group].item() == (lowest if expected is None else pytest.approx(expected, rel=1e-12, abs=1e-12))


def test_gradients() -> None:
    values = torch.randn(6, dtype=torch.float64, requires_grad=True)
    groups = groups_of(PIDS)

    def of_groups(x: Tensor) -> Tensor:
        return grouped_logsumexp(x, groups)[[0, 1, 3]]

    assert torch.autograd.gradcheck(of_groups, values)
    assert torch.autograd.gradgradcheck(of_groups, values)
    (gradient,) = torch.autograd.grad(of_groups(values)[0], values)
    torch.testing.assert_close(gradient[[0, 2, 5]], values[[0, 2, 5]].softmax(0))
    assert not gradient[[1, 3, 4]].any()


def test_empty_groups_have_no_gradient() -> None:
    values = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    found = grouped_logsumexp(values, torch.tensor([2, 2, 2]))
    (gradient,) = torch.autograd.grad(found[:2].sum(), values)
    assert (found[:2] == torch.finfo(torch.float32).min).all() and not gradient.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lowest_and_large_numbers(dtype: torch.dtype) -> None:
    lowest = torch.finfo(dtype).min
    values = torch.tensor([lowest, lowest, 1e30, 1e30, -1e30, 5.0], dtype=dtype, requires_grad=True)
    found = grouped_logsumexp(values, torch.tensor([0, 0, 1, 1, 2, 2]))
    torch.testing.assert_close(found[:3], torch.tensor([lowest, 1e30, 5.0], dtype=dtype))
    (gradient,) = torch.autograd.grad(found[:3].sum(), values)
    assert gradient.tolist() == [0.5, 0.5, 0.5, 0.5, 0.0, 1.0]


def test_inputs_are_left_alone_and_values_not_read() -> None:
    values, groups = torch.arange(6.0), groups_of(PIDS)
    grouped_logsumexp(values, groups)
    assert torch.equal(values, torch.arange(6.0)) and torch.equal(groups, groups_of(PIDS))
    with FakeTensorMode():
        assert grouped_logsumexp(torch.zeros(6), groups_of(torch.zeros(6, dtype=torch.long))).shape == (6,)
