"""From a graph to straight-line code."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from typing import Any

import torch
from torch import Tensor, fx

from fastreid_ext.projects.gms.graph import Graph, Operation
from fastreid_ext.projects.gms.primitives import PRIMITIVES

__all__ = ["CompiledFunction", "compiled_function"]

# Python's operators take a number on either side, torch's functions only on the right.
_OPERATORS: Mapping[str, Callable[..., Any]] = {
    "add": operator.add,
    "minus": operator.sub,
    "mul": operator.mul,
    "neg": operator.neg,
}


class CompiledFunction:
    """A graph as a function of tensors: written out once by `torch.fx`, with everything constant computed beforehand.

    Pickles and copies as its graph does; equal graphs share one.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._run = _compile(graph)

    def __call__(self, x: Tensor) -> Tensor:
        """Applies the function to each number.

        Shape:
            x: any.
            Result: that of `x`.
        """
        result: Tensor = self._run(x)
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return compiled_function, (self.graph,)


@lru_cache(maxsize=1024)
def compiled_function(graph: Graph) -> CompiledFunction:
    """The graph's function, compiled when it is first asked for."""
    return CompiledFunction(graph)


def _compile(graph: Graph) -> Callable[[Tensor], Tensor]:
    code = fx.Graph()
    x = code.placeholder("x")
    values: list[fx.Node | float] = [x, *graph.constants]
    for operation in graph.operations:
        values.append(_emit(code, operation, [values[node] for node in operation.inputs]))
    result = reduce(lambda a, b: _emit(code, Operation("add", (0, 0)), [a, b]), (values[i] for i in graph.outputs))
    if not isinstance(result, fx.Node):
        # A constant still has the shape of its input and hangs on it.
        result = code.call_function(operator.add, (code.call_function(operator.mul, (x, 0.0)), result))
    code.output(result)
    module = fx.GraphModule(torch.nn.Module(), code)
    return module.forward  # type: ignore[no-any-return]  # the forward that was written


def _emit(code: fx.Graph, operation: Operation, inputs: list[fx.Node | float]) -> fx.Node | float:
    function = PRIMITIVES[operation.primitive].function
    if not any(isinstance(value, fx.Node) for value in inputs):
        numbers = (torch.tensor(value, dtype=torch.float64) for value in inputs)
        return float(function(*numbers))
    if operation.primitive == "div":
        return _emit_quotient(code, *inputs)
    return code.call_function(_OPERATORS.get(operation.primitive, function), tuple(inputs))


def _emit_quotient(code: fx.Graph, dividend: fx.Node | float, divisor: fx.Node | float) -> fx.Node:
    """The reciprocal keeps its argument away from 0, whichever side is a tensor."""
    inverse = _emit(code, Operation("inv", (0,)), [divisor])
    return code.call_function(operator.mul, (dividend, inverse))
