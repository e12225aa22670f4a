"""The screening against its definition, on losses that pass and losses with each fault."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch

from fastreid_ext.projects.gms.construct import construct
from fastreid_ext.projects.gms.presets import PRESETS, arcface, circle, cosface, loss, softmax
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.programs import encode_losses
from fastreid_ext.projects.gms.rejection import Screening, Verdict


def check(target: str, nontarget: str, log2_scale: float = 5.0) -> Verdict:
    (verdict,) = Screening().check([loss(target, nontarget, log2_scale)])
    return verdict


@pytest.mark.parametrize("name", PRESETS)
def test_losses_of_the_paper_pass(name: str) -> None:
    (verdict,) = Screening().check([PRESETS[name]])
    assert verdict.reason == "" and len(verdict.key) == 32 and verdict.vector.shape == (515,)


def test_hand_crafted_losses_pass_with_any_usual_margin_and_scale() -> None:
    margins, scales = (0.05, 0.25, 0.5), (3.0, 6.0, 8.0)
    makers = [partial(maker, margin) for maker in (arcface, circle, cosface) for margin in margins]
    losses = [maker(scale) for maker in [*makers, softmax] for scale in scales]
    assert [verdict.reason for verdict in Screening().check(losses)] == [""] * len(losses)


@pytest.mark.parametrize(
    ("target", "nontarget", "log2_scale", "reason"),
    [
        ("log(x + 0.7)", "x", 5, "values: t is not finite at x = -1, where log takes -0.3"),
        ("x", "sqrt(x)", 5, "values: n is not finite at x = -1, where sqrt takes -1"),
        ("1 / x", "x", 5, "values: t is not finite at x = 0, where div takes 0"),
        ("x", "inv(x - 0.5)", 5, "values: n is not finite at x = 0.5, where inv takes 0"),
        ("arcsin(1.5 * x)", "x", 5, "values: t is not finite at x = -1, where arcsin takes -1.5"),
        ("exp(500 * x)", "x", 5, "values: t is not finite at x = 0.1719, where exp takes 85.94"),
        ("x", "exp(84 * x) + exp(83.9 * x)", 5, "values: n is not finite at x = 1, where its outputs are added"),
        ("exp(80 * x) * exp(20 * x)", "x", 5, "values: t is not finite at x = 0.8438, where mul overflows"),
        ("exp(80 * x)", "x", 10, "values: t is not finite at x = 1, where the scale multiplies it by 1024"),
        ("-x", "1", 5, "properties: t' >= 0 at 0 % of the points, 80 % are needed"),
        ("-abs(x)", "1", 5, "properties: t' >= 0 at 50.2 % of the points, 80 % are needed"),
        ("x - 2", "-x", 5, "properties: n' >= 0 at 0 % of the points, 80 % are needed"),
        ("x + 0.1", "x", 5, "properties: n >= t at 0 % of the points, 80 % are needed"),
        ("x", "0.5 * x + 0.25", 5, "properties: n >= t at 75.1 % of the points, 80 % are needed"),
        ("2 * x", "-x", 5, "properties: n' >= 0 at 0 % of the points, 80 % are needed"),
    ],
)
def test_bad_losses_are_rejected(target: str, nontarget: str, log2_scale: float, reason: str) -> None:
    verdict = check(target, nontarget, log2_scale)
    assert verdict.reason == reason and verdict.key == "" and verdict.vector.size == 0


def test_a_share_of_the_points_is_enough() -> None:
    assert check("x", "0.6 * x + 0.28").reason == ""
    assert check("(x + 0.7)^2", "3 + x").reason == ""
    (verdict,) = Screening(property_share=0.9).check([loss("(x + 0.7)^2", "3 + x", 5)])
    assert verdict.reason == "properties: t' >= 0 at 84.8 % of the points, 90 % are needed"


def test_equality_and_rounding_count_as_fulfilled() -> None:
    assert check("0.5", "0.5").reason == ""
    assert check("sin(x)^2 + cos(x)^2", "1").reason == ""
    assert check("1e6 * (sin(x)^2 + cos(x)^2)", "1e6").reason == ""
    assert check("x + 0.000001", "x").reason.startswith("properties: n >= t at 0 %")


def test_verdicts_are_those_of_torch() -> None:
    """Properties by autograd, one loss at a time."""
    losses, verdicts = Screening().sample(np.random.default_rng(0), 400)
    x = torch.linspace(-1, 1, 257, dtype=torch.float64).requires_grad_()
    seen = {"properties": 0, "": 0}
    for place, verdict in enumerate(verdicts):
        stage = verdict.reason.split(":")[0]
        if stage == "values":
            continue
        candidate = losses.candidate(place)
        curves = []
        for graph in (candidate.target, candidate.nontarget):
            nodes = [x, *(torch.full_like(x, constant) for constant in graph.constants)]
            for name, inputs in graph.operations:
                nodes.append(PRIMITIVES[name].function(*(nodes[node] for node in inputs)))
            value = sum((nodes[node] for node in graph.outputs), start=0 * x)
            curves += [value.detach(), *torch.autograd.grad(value.sum(), x)]
        t, t_slope, n, n_slope = curves
        shares = [((margin >= -1e-9).double().mean().item()) for margin in (t_slope, n_slope, n - t)]
        assert (stage == "") == (min(shares) >= 0.8)
        seen[stage] += 1
        if not stage:
            expected = [*t.tolist(), *n.tolist(), candidate.log2_scale]
            assert verdict.vector == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert min(seen.values()) >= 20


def test_equivalent_losses_have_one_key() -> None:
    key = check("x - 0.35", "x").key
    assert check("(x + x) / 2 - 0.7 * 0.5", "0.5 * x + x * 0.5").key == key
    assert check("x - 0.35", "x", 5.5).key != key
    assert check("x - 0.35000000001", "x").key != key
    assert check("x - 0.35000000000000001", "x").key == key


def test_zeros_of_both_signs_are_equal() -> None:
    assert check("0 * (x + 2)", "x + 1").key == check("0 * (-x - 2)", "x + 1").key


def test_functions_that_differ_in_derivative_alone_are_different() -> None:
    first, second = check("(x + 2)^2", "x + 9"), check("de(x + 2) * (x + 2)", "x + 9")
    assert (first.vector == second.vector).all() and first.key != second.key


def test_verdicts_do_not_depend_on_company_or_threads() -> None:
    screening = Screening()
    losses, verdicts = screening.sample(np.random.default_rng(1), 700)
    assert torch.get_num_threads() == 1
    torch.set_num_threads(2)
    try:
        again = screening.check_losses(losses)
    finally:
        torch.set_num_threads(1)
    alone = [screening.check([losses.candidate(place)])[0] for place in range(0, 700, 7)]
    assert [(a.reason, a.key) for a in again] == [(b.reason, b.key) for b in verdicts]
    assert [(a.reason, a.key) for a in alone] == [(b.reason, b.key) for b in verdicts[::7]]


def test_sampled_losses_come_from_the_grids() -> None:
    make = partial(construct, num_operations=4, exact=True)
    losses, verdicts = Screening().sample(np.random.default_rng(0), 300, make=make, scale_step=0.25, scale_steps=8)
    assert len(losses) == len(verdicts) == 300
    assert set(losses.log2_scales) == {0.25 * step for step in range(1, 9)}
    assert len(losses.target.opcodes) == len(losses.nontarget.opcodes) == 1200
    assert (losses.target.opcodes != losses.nontarget.opcodes).any()


def test_points_and_digits_are_options() -> None:
    coarse = Screening(points=5, digits=2)
    verdicts = coarse.check([loss("x - 0.301", "x", 5), loss("x - 0.302", "x", 5), loss("x - 0.31", "x", 5)])
    assert verdicts[0].vector == pytest.approx([-1.301, -0.801, -0.301, 0.199, 0.699, -1, -0.5, 0, 0.5, 1, 5])
    assert verdicts[0].key == verdicts[1].key != verdicts[2].key


def test_nothing_can_be_checked() -> None:
    assert Screening().check([]) == [] and Screening().check_losses(encode_losses([])) == []


def test_one_large_value_does_not_excuse_the_others() -> None:
    falling = "exp(x / 0.05 + x / 0.05) - 10 * x"
    (verdict,) = Screening().check([loss(falling, f"{falling} + 1", 1.0)])
    assert verdict.reason.startswith("properties: t' >= 0 at 51.8 %")
