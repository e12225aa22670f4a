"""What a graph computes, node by node, as Table 1 writes it."""

from __future__ import annotations

import math
from collections.abc import Callable

from fastreid_ext.projects.gms.graph import Graph

__all__ = ["interpret"]

SMALLEST, ARC_LIMIT = 1e-7, 1 - 1e-7


def divisor(x: float) -> float:
    return min(x, -SMALLEST) if x < 0 else at_least(x, SMALLEST)


def at_least(x: float, least: float) -> float:
    """As `max`, but not a number stays what it is."""
    return least if x < least else x


def inside(x: float) -> float:
    return ARC_LIMIT if x > ARC_LIMIT else at_least(x, -ARC_LIMIT)


def exponential(x: float) -> float:
    return math.exp(x) if not x > 709 else math.inf


FUNCTIONS: dict[str, Callable[..., float]] = {
    "add": lambda x, y: x + y,
    "minus": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "div": lambda x, y: x / divisor(y),
    "neg": lambda x: -x,
    "abs": abs,
    "inv": lambda x: 1 / divisor(x),
    "log": lambda x: math.log(at_least(x, SMALLEST)),
    "exp": exponential,
    "sig": lambda x: 1 / (1 + exponential(-x)),
    "tanh": math.tanh,
    "sin": lambda x: math.sin(x) if math.isfinite(x) else math.nan,
    "cos": lambda x: math.cos(x) if math.isfinite(x) else math.nan,
    "arcsin": lambda x: math.asin(inside(x)),
    "arccos": lambda x: math.acos(inside(x)),
    "square": lambda x: x * x,
    "sqrt": lambda x: math.sqrt(at_least(x, SMALLEST)),
    "relu": lambda x: at_least(x, 0.0),
    "softplus": lambda x: at_least(x, 0.0) + math.log1p(exponential(-abs(x))),
    "gd": lambda x: 2 * math.atan(math.tanh(x / 2)),
    "alf": lambda x: x / math.sqrt(1 + x * x),
    "erf": math.erf,
    "erfc": math.erfc,
    "de": lambda x: x,
}


def interpret(graph: Graph, x: float) -> float:
    """The value at x: the outputs added up from the first."""
    values = [x, *graph.constants]
    for name, inputs in graph.operations:
        values.append(FUNCTIONS[name](*(values[node] for node in inputs)))
    result, *others = (values[node] for node in graph.outputs)
    for other in others:
        result += other
    return result
