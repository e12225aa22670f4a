"""The 24 primitive operations of Table 1, each defined and differentiable on all numbers.

Where a function has an edge (the arc sine at 1, the root at 0, the reciprocal at 0) its argument is held a little
inside, so that rounding never makes a value or a slope infinite. The screening rejects what leaves the true domain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

__all__ = ["ARC_LIMIT", "PRIMITIVES", "SMALLEST", "Primitive"]

# Argument of arc sine and arc cosine, at most: the step of float32 below one is 6e-8.
ARC_LIMIT = 1 - 1e-7
# Argument of logarithm and root, and magnitude of a divisor, at least.
SMALLEST = 1e-7


@dataclass(frozen=True)
class Primitive:
    """An operation on one or two numbers.

    Attributes:
        name: how it is called in text and JSON.
        arity: number of its inputs.
        function: of tensors of one shape, elementwise.
        latex: how it is typeset, with `{0}` and `{1}` for the inputs.
    """

    name: str
    arity: int
    function: Callable[..., Tensor]
    latex: str


def _divisor(x: Tensor) -> Tensor:
    return torch.where(x < 0, x.clamp_max(-SMALLEST), x.clamp_min(SMALLEST))


def _gudermann(x: Tensor) -> Tensor:
    return 2 * (x / 2).tanh().atan()


def _algebraic(x: Tensor) -> Tensor:
    # Where the square of x would overflow, this is still 1.
    return x / torch.hypot(x, torch.ones_like(x))


def _softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros_like(x))


_ALL = (
    Primitive("add", 2, torch.add, "{0} + {1}"),
    Primitive("minus", 2, torch.sub, "{0} - {1}"),
    Primitive("mul", 2, torch.mul, "{0} {1}"),
    Primitive("div", 2, lambda x, y: x / _divisor(y), r"\frac{{{0}}}{{{1}}}"),
    Primitive("neg", 1, torch.neg, "-{0}"),
    Primitive("abs", 1, torch.abs, r"\left|{0}\right|"),
    Primitive("inv", 1, lambda x: _divisor(x).reciprocal(), r"\frac{{1}}{{{0}}}"),
    Primitive("log", 1, lambda x: x.clamp_min(SMALLEST).log(), r"\log\left({0}\right)"),
    Primitive("exp", 1, torch.exp, r"e^{{{0}}}"),
    Primitive("sig", 1, torch.sigmoid, r"\mathrm{{Sig}}\left({0}\right)"),
    Primitive("tanh", 1, torch.tanh, r"\tanh\left({0}\right)"),
    Primitive("sin", 1, torch.sin, r"\sin\left({0}\right)"),
    Primitive("cos", 1, torch.cos, r"\cos\left({0}\right)"),
    Primitive("arcsin", 1, lambda x: x.clamp(-ARC_LIMIT, ARC_LIMIT).arcsin(), r"\arcsin\left({0}\right)"),
    Primitive("arccos", 1, lambda x: x.clamp(-ARC_LIMIT, ARC_LIMIT).arccos(), r"\arccos\left({0}\right)"),
    Primitive("square", 1, torch.square, "{0}^2"),
    Primitive("sqrt", 1, lambda x: x.clamp_min(SMALLEST).sqrt(), r"\sqrt{{{0}}}"),
    Primitive("relu", 1, torch.relu, r"\left[{0}\right]_+"),
    Primitive("softplus", 1, _softplus, r"\log\left(1 + e^{{{0}}}\right)"),
    Primitive("gd", 1, _gudermann, r"\mathrm{{Gd}}\left({0}\right)"),
    Primitive("alf", 1, _algebraic, r"\mathrm{{Alf}}\left({0}\right)"),
    Primitive("erf", 1, torch.erf, r"\mathrm{{Erf}}\left({0}\right)"),
    Primitive("erfc", 1, torch.erfc, r"\mathrm{{Erfc}}\left({0}\right)"),
    Primitive("de", 1, torch.detach, r"\mathrm{{de}}\left({0}\right)"),
)

PRIMITIVES: Mapping[str, Primitive] = MappingProxyType({primitive.name: primitive for primitive in _ALL})
"""By name, in the order of Table 1: an operation's place is its number in compiled form."""
