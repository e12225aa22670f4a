"""The mutations within a graph, and the step of its constants.

The output node O counts as a node with parents, so that an operation can be put before it, in a graph without
operations, too. A node that a mutation leaves without successor feeds O, as Algorithm 1 ends: constants and x as
well, but x not where nothing used it before. No node feeds O twice.

Source: AutoLoss-GMS, supplement C.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from numpy.random import Generator

from fastreid_ext.projects.gms.graph import Graph, Operation
from fastreid_ext.projects.gms.primitives import PRIMITIVES

__all__ = ["delete", "insert", "mutate", "replace", "step_constants", "valid_mutations"]

_T = TypeVar("_T")
_NAMES = tuple(PRIMITIVES)


def valid_mutations(graph: Graph, max_operations: int) -> tuple[str, ...]:
    """Which of insert, delete and replace the graph allows."""
    inserting = ("insert",) if len(graph.operations) < max_operations else ()
    return (*inserting, "delete", "replace") if graph.operations else inserting


def mutate(graph: Graph, rng: Generator, *, max_operations: int) -> tuple[Graph, str]:
    """One of the mutations that are valid, and what it did, such as `replace sin by cos`.

    Raises:
        ValueError: none is valid: no operations, and none allowed.
    """
    valid = valid_mutations(graph, max_operations)
    if not valid:
        raise ValueError(f"no mutation is possible: {graph} has no operation, and {max_operations} are allowed")
    name = _choice(rng, valid)
    if name == "insert":
        mutated = insert(graph, rng, max_operations=max_operations)
    else:
        mutated = delete(graph, rng) if name == "delete" else replace(graph, rng)
    before, after = (Counter(operation.primitive for operation in g.operations) for g in (graph, mutated))
    # Nothing is gained or lost where an operation was drawn to replace itself.
    changed = " by ".join([*(before - after), *(after - before)]) or "nothing"
    return mutated, f"{name} {changed}"


def insert(graph: Graph, rng: Generator, *, max_operations: int) -> Graph:
    """Puts a new operation between a node and one of its parents.

    A binary one takes, on either side, any node from before the selected one as its other parent.

    Raises:
        ValueError: the graph has `max_operations` already.
    """
    if "insert" not in valid_mutations(graph, max_operations):
        raise ValueError(f"no insertion is possible: the graph has {len(graph.operations)} operations already")
    first, number = 1 + len(graph.constants), graph.num_nodes
    selected = int(rng.integers(first, number, endpoint=True))
    name = _choice(rng, _NAMES)
    if selected == number:
        parent = _choice(rng, graph.outputs)
        new = Operation(name, _with_other(parent, name, number, rng))
        outputs = {*graph.outputs, number} - {parent}
        return _rebuilt(graph, (*graph.operations, new), outputs)
    child = graph.operations[selected - first]
    side = int(rng.integers(len(child.inputs)))
    new = Operation(name, _with_other(child.inputs[side], name, selected, rng))

    def moved(node: int) -> int:
        return node + (node >= selected)

    operations = [Operation(name, tuple(map(moved, inputs))) for name, inputs in graph.operations]
    # Inputs of the child come before it: they have not moved.
    inputs = (*child.inputs[:side], selected, *child.inputs[side + 1 :])
    operations[selected - first] = Operation(child.primitive, inputs)
    operations.insert(selected - first, new)
    return _rebuilt(graph, operations, map(moved, graph.outputs))


def delete(graph: Graph, rng: Generator) -> Graph:
    """Removes an operation; one of its parents, drawn at random, takes its place.

    Raises:
        ValueError: the graph has none.
    """
    selected = _operation(graph, rng)
    place = selected - 1 - len(graph.constants)
    parent = _choice(rng, graph.operations[place].inputs)

    def moved(node: int) -> int:
        return parent if node == selected else node - (node > selected)

    operations = [Operation(name, tuple(map(moved, inputs))) for name, inputs in graph.operations]
    del operations[place]
    return _rebuilt(graph, operations, map(moved, graph.outputs))


def replace(graph: Graph, rng: Generator) -> Graph:
    """Makes an operation another one, drawn from all.

    Of equal arity, it keeps its parents. A binary one in place of a unary one takes, on either side, any node from
    before it as its other parent; a unary one in place of a binary one keeps one of the parents, drawn at random.

    Raises:
        ValueError: the graph has no operation.
    """
    selected = _operation(graph, rng)
    place = selected - 1 - len(graph.constants)
    name, inputs = _choice(rng, _NAMES), graph.operations[place].inputs
    if len(inputs) != PRIMITIVES[name].arity:
        inputs = _with_other(_choice(rng, inputs), name, selected, rng)
    operations = (*graph.operations[:place], Operation(name, inputs), *graph.operations[place + 1 :])
    return _rebuilt(graph, operations, graph.outputs)


def step_constants(graph: Graph, rng: Generator, step: float) -> Graph:
    """Adds a number drawn from [-step, step] to each constant.

    Source: AutoLoss-GMS, eq. 8 (reconstructed).
    """
    steps = rng.uniform(-step, step, len(graph.constants)).tolist()
    constants = tuple(constant + change for constant, change in zip(graph.constants, steps, strict=True))
    return Graph(constants, graph.operations, graph.outputs)


def _choice(rng: Generator, items: Sequence[_T]) -> _T:
    return items[int(rng.integers(len(items)))]


def _operation(graph: Graph, rng: Generator) -> int:
    """The number of an operation."""
    if not graph.operations:
        raise ValueError(f"{graph} has no operation to delete or replace")
    return int(rng.integers(1 + len(graph.constants), graph.num_nodes))


def _with_other(parent: int, name: str, before: int, rng: Generator) -> tuple[int, ...]:
    """The inputs of an operation of which `parent` is one, and another from before a node if it is binary."""
    if PRIMITIVES[name].arity == 1:
        return (parent,)
    other = int(rng.integers(before))
    return (parent, other) if rng.random() < 0.5 else (other, parent)


def _rebuilt(graph: Graph, operations: Iterable[Operation], outputs: Iterable[int]) -> Graph:
    """The graph with other operations, where what has no successor now feeds the output, too."""
    operations = tuple(operations)
    unused = set(range(1 + len(graph.constants) + len(operations)))
    unused.difference_update(*(operation.inputs for operation in operations))
    if 0 not in graph.outputs and not any(0 in operation.inputs for operation in graph.operations):
        unused.discard(0)
    return Graph(graph.constants, operations, tuple(sorted(unused.union(outputs))))
