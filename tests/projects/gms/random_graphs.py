"""Graphs for hypothesis: all that `Graph` allows, twin nodes and outputs that others take included."""

from __future__ import annotations

from hypothesis import strategies as st

from fastreid_ext.projects.gms.graph import Graph, Operation
from fastreid_ext.projects.gms.primitives import PRIMITIVES

__all__ = ["graphs"]

# Few names and few numbers make twins likely; the rest come, too.
NAMES = st.sampled_from(["add", "minus", "mul", "neg", "square", "sin"]) | st.sampled_from(list(PRIMITIVES))
NUMBERS = st.sampled_from([0.5, -0.5, 0.0, -0.0, 1.0, 1e-5, 1e22]) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def graphs(draw: st.DrawFn, max_operations: int = 10) -> Graph:
    """A graph of up to three constants, with any nodes besides those that nothing takes as outputs."""
    constants = draw(st.lists(NUMBERS, max_size=3))
    operations: list[Operation] = []
    for name in draw(st.lists(NAMES, max_size=max_operations)):
        earlier = st.integers(0, len(constants) + len(operations))
        arity = PRIMITIVES[name].arity
        operations.append(Operation(name, tuple(draw(st.lists(earlier, min_size=arity, max_size=arity)))))
    number = 1 + len(constants) + len(operations)
    unused = set(range(1, number)).difference(*(operation.inputs for operation in operations))
    more = draw(st.sets(st.integers(0, number - 1), min_size=0 if unused else 1, max_size=2))
    return Graph(tuple(constants), tuple(operations), tuple(sorted(unused | more)))
