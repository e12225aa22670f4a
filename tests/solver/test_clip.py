"""Gradient clipping."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.solver import build_gradient_clipper


def config(kind: str, limit: float, norm: float = 2.0) -> CfgNode:
    cfg = get_cfg()
    cfg.SOLVER.CLIP_GRADIENTS.ENABLED = True
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE = kind
    cfg.SOLVER.CLIP_GRADIENTS.CLIP_VALUE = limit
    cfg.SOLVER.CLIP_GRADIENTS.NORM_TYPE = norm
    return cfg


def parameters(*gradients: list[float]) -> list[nn.Parameter]:
    made = [nn.Parameter(torch.zeros(len(gradient))) for gradient in gradients]
    for parameter, gradient in zip(made, gradients, strict=True):
        parameter.grad = torch.tensor(gradient)
    return made


def test_off_by_default() -> None:
    assert build_gradient_clipper(get_cfg()) is None


def test_norm_is_of_all_parameters_together() -> None:
    clip = build_gradient_clipper(config("norm", 1.0))
    assert clip is not None
    first, second = parameters([3.0, 0.0], [4.0])
    norm = clip([first, second])
    assert norm is not None
    assert float(norm) == pytest.approx(5.0)
    assert first.grad is not None
    assert second.grad is not None
    torch.testing.assert_close(first.grad, torch.tensor([0.6, 0.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(second.grad, torch.tensor([0.8]), atol=1e-5, rtol=0)


def test_small_gradients_stay() -> None:
    clip = build_gradient_clipper(config("norm", 10.0))
    assert clip is not None
    (parameter,) = parameters([3.0, 4.0])
    clip([parameter])
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [3.0, 4.0]


def test_other_norms() -> None:
    clip = build_gradient_clipper(config("norm", 1.0, float("inf")))
    assert clip is not None
    (parameter,) = parameters([3.0, -4.0])
    clip([parameter])
    assert parameter.grad is not None
    torch.testing.assert_close(parameter.grad, torch.tensor([0.75, -1.0]), atol=1e-5, rtol=0)


def test_value_cuts_each_entry() -> None:
    clip = build_gradient_clipper(config("value", 2.0))
    assert clip is not None
    (parameter,) = parameters([3.0, -4.0, 1.0])
    clip([parameter])
    assert parameter.grad is not None
    assert parameter.grad.tolist() == [2.0, -2.0, 1.0]


def test_parameters_without_gradient_are_passed_over() -> None:
    clip = build_gradient_clipper(config("norm", 1.0))
    assert clip is not None
    (parameter,) = parameters([3.0, 4.0])
    clip([nn.Parameter(torch.zeros(2)), parameter])
    assert parameter.grad is not None
    assert float(parameter.grad.norm()) == pytest.approx(1.0, abs=1e-5)
