"""Functions of one number as computational graphs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.registry import close_matches

__all__ = ["Graph", "GraphError", "Operation"]


class GraphError(ValueError):
    """Nodes that make no graph."""


class Operation(NamedTuple):
    """A node that computes something: a primitive's name, and the numbers of the nodes that it takes."""

    primitive: str
    inputs: tuple[int, ...]


@dataclass(frozen=True)
class Graph:
    """A function t(x) or n(x): constants, operations, and the nodes of which the result is the sum.

    Node 0 is x, then come the constants, then the operations, each of which takes earlier nodes. The output node O of
    the paper sums its inputs (reconstructed: the text does not say what it does with several).

    Attributes:
        constants: values of the constant nodes.
        operations: in an order in which they can be computed.
        outputs: numbers of the nodes whose sum is the result, ascending.

    Raises:
        GraphError: an unknown primitive, a wrong number of inputs, an input that does not come earlier, a constant that
            is not finite, no output, or a constant or operation that nothing uses.

    Source: AutoLoss-GMS, Algorithm 1.
    """

    constants: tuple[float, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_constants(self.constants)
        first = 1 + len(self.constants)
        for node, operation in enumerate(self.operations, start=first):
            _check_operation(node, operation)
        number = first + len(self.operations)
        if not self.outputs or any(not 0 <= node < number for node in self.outputs):
            raise GraphError(f"outputs {list(self.outputs)}: name at least one of the nodes 0 to {number - 1}")
        if any(later <= earlier for earlier, later in zip(self.outputs, self.outputs[1:], strict=False)):
            raise GraphError(f"outputs {list(self.outputs)}: name each once, in ascending order")
        unused = set(range(1, number)).difference(self.outputs, *(operation.inputs for operation in self.operations))
        if unused:
            raise GraphError(f"nothing uses node {min(unused)}")

    @classmethod
    def closed(cls, constants: Iterable[float], operations: Iterable[Operation]) -> Graph:
        """The graph whose result is the sum of all nodes that no operation takes, as Algorithm 1 ends."""
        constants, operations = tuple(constants), tuple(operations)
        number = 1 + len(constants) + len(operations)
        used = {node for operation in operations for node in operation.inputs}
        return cls(constants, operations, tuple(node for node in range(number) if node not in used))

    @property
    def num_nodes(self) -> int:
        """x, constants and operations."""
        return 1 + len(self.constants) + len(self.operations)

    def to_json(self) -> dict[str, Any]:
        """Lists and numbers that `json` writes exactly."""
        return {
            "constants": list(self.constants),
            "operations": [[operation.primitive, *operation.inputs] for operation in self.operations],
            "outputs": list(self.outputs),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Graph:
        """What `to_json` made.

        Raises:
            GraphError: it is no graph.
        """
        try:
            constants = tuple(_number(constant) for constant in value["constants"])
            operations = tuple(
                Operation(str(name), tuple(map(_index, inputs))) for name, *inputs in value["operations"]
            )
            outputs = tuple(map(_index, value["outputs"]))
        except (KeyError, TypeError, ValueError) as error:
            raise GraphError(f"no graph in JSON, which has lists of constants, operations, outputs: {error}") from error
        return cls(constants, operations, outputs)

    def __str__(self) -> str:
        from fastreid_ext.projects.gms.text import to_text

        return to_text(self)


def _check_constants(constants: Sequence[float]) -> None:
    for constant in constants:
        if not isinstance(constant, float) or not math.isfinite(constant):
            raise GraphError(f"constant {constant!r} is no finite number")


def _check_operation(node: int, operation: Operation) -> None:
    name, inputs = operation
    if name not in PRIMITIVES:
        hint = "".join(f" Did you mean {match}?" for match in close_matches(name, PRIMITIVES, 1))
        raise GraphError(f"unknown operation {name!r}.{hint} There are: {', '.join(PRIMITIVES)}")
    if len(inputs) != PRIMITIVES[name].arity:
        raise GraphError(f"node {node}: {name} takes {PRIMITIVES[name].arity} inputs, not {len(inputs)}")
    if any(not 0 <= source < node for source in inputs):
        raise GraphError(
            f"node {node}: {name} takes {list(inputs)}, but only earlier nodes, 0 to {node - 1}, are known"
        )


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _index(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{value!r} is no node's number")
    return value
