"""The ranking loss against a loop over pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fastreid_ext.projects.gms.ranking_loss import ranking_loss


def slow_loss(predicted: list[float], actual: list[float], temperature: float) -> float:
    terms = [
        1 - math.tanh((predicted[i] - predicted[j]) * (actual[i] - actual[j]) / temperature)
        for i in range(len(actual))
        for j in range(i)
    ]
    return sum(terms) / len(terms)


def values(number: int = 7) -> tuple[Tensor, Tensor]:
    return torch.rand(number, dtype=torch.float64), torch.rand(number, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [0.01, 0.3])
def test_equals_a_loop_over_pairs(temperature: float) -> None:
    predicted, actual = values()
    found = ranking_loss(predicted, actual, temperature=temperature)
    assert found.item() == pytest.approx(slow_loss(predicted.tolist(), actual.tolist(), temperature), abs=1e-12)


def test_is_one_minus_kendalls_tau_where_the_temperature_is_low() -> None:
    predicted, actual = torch.tensor([0.1, 0.2, 0.3, 0.4]), torch.tensor([0.1, 0.2, 0.4, 0.3])
    assert ranking_loss(predicted, actual, temperature=1e-6).item() == pytest.approx(1 - (5 - 1) / 6)
    assert ranking_loss(predicted, predicted, temperature=1e-6).item() == pytest.approx(0)
    assert ranking_loss(-predicted, predicted, temperature=1e-6).item() == pytest.approx(2)


def test_a_tied_pair_costs_one() -> None:
    same, different = torch.tensor([0.5, 0.5]), torch.tensor([0.1, 0.9])
    assert ranking_loss(same, different).item() == ranking_loss(different, same).item() == 1


def test_the_order_of_samples_does_not_matter() -> None:
    predicted, actual = values()
    order = torch.randperm(7)
    torch.testing.assert_close(ranking_loss(predicted[order], actual[order]), ranking_loss(predicted, actual))


def test_gradients_are_those_of_differences() -> None:
    predicted, actual = values(5)
    assert torch.autograd.gradcheck(lambda p: ranking_loss(p, actual, temperature=0.2), predicted.requires_grad_())


def test_a_step_against_the_gradient_improves_the_order() -> None:
    predicted, actual = torch.tensor([0.3, 0.2], requires_grad=True), torch.tensor([0.2, 0.3])
    (gradient,) = torch.autograd.grad(ranking_loss(predicted, actual), predicted)
    assert gradient[0] > 0 > gradient[1]


@pytest.mark.parametrize("number", [0, 1])
def test_without_a_pair_it_is_zero_with_a_graph(number: int) -> None:
    predicted = torch.rand(number, requires_grad=True)
    loss = ranking_loss(predicted, torch.rand(number))
    loss.backward()
    assert loss.shape == () and loss.item() == 0
    assert predicted.grad is not None and not predicted.grad.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_finite_and_near(dtype: torch.dtype) -> None:
    predicted, actual = (value.to(dtype) for value in values())
    predicted.requires_grad_()
    loss = ranking_loss(predicted * 1000, actual)
    loss.backward()
    assert predicted.grad is not None and predicted.grad.isfinite().all()
    expected = slow_loss((predicted.detach() * 1000).tolist(), actual.tolist(), 0.01)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


def test_inputs_stay() -> None:
    predicted, actual = values()
    before = predicted.clone(), actual.clone()
    ranking_loss(predicted, actual)
    assert torch.equal(predicted, before[0]) and torch.equal(actual, before[1])
