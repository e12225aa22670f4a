"""The product of a matrix with itself, and its short way back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreid_ext.functional.gram import gram_matrix


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_product(dtype: torch.dtype) -> None:
    rows, weights = draw(5, 3, dtype=dtype).requires_grad_(), draw(5, 5, seed=1, dtype=dtype)
    found, expected = gram_matrix(rows), rows @ rows.T
    assert torch.equal(found, expected)
    # Weights that are not symmetric: the gradient of an entry is not that of its mirror image.
    gradients = [torch.autograd.grad((product * weights).sum(), rows) for product in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("shape", [(4, 3), (1, 3), (3, 1), (0, 3)])
def test_gradients(shape: tuple[int, int]) -> None:
    rows = draw(*shape).requires_grad_()
    assert torch.autograd.gradcheck(gram_matrix, rows)
    assert torch.autograd.gradgradcheck(gram_matrix, rows)


def test_rows_in_any_layout() -> None:
    rows = draw(3, 8).T[::2].requires_grad_()
    expected = rows.detach().clone().requires_grad_()
    gram_matrix(rows).square().sum().backward()
    (expected @ expected.T).square().sum().backward()
    torch.testing.assert_close(rows.grad, expected.grad)


def test_without_a_gradient_nothing_is_kept() -> None:
    assert gram_matrix(draw(3, 2)).grad_fn is None
    with torch.no_grad():
        assert not gram_matrix(draw(3, 2).requires_grad_()).requires_grad


def test_rows_changed_before_the_way_back_are_an_error() -> None:
    rows = draw(3, 2).requires_grad_()
    inner = rows * 1
    product = gram_matrix(inner)
    inner.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.sum().backward()


def test_a_way_back_inside_of_autocast_is_as_precise() -> None:
    rows = draw(6, 9, dtype=torch.float32).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=True):
        with torch.autocast("cpu", enabled=False):
            total = gram_matrix(rows).square().sum()
        (found,) = torch.autograd.grad(total, rows)
    (expected,) = torch.autograd.grad((rows @ rows.T).square().sum(), rows)
    torch.testing.assert_close(found, expected)
