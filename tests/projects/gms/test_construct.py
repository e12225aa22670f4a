"""Random graphs against Algorithm 1, written step by step."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fastreid_ext.projects.gms.construct import construct, construct_graph
from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.primitives import PRIMITIVES


def enumerate_steps(nodes: int) -> list[tuple[str, tuple[int, ...]]]:
    """All that Algorithm 1 can append."""
    steps: list[tuple[str, tuple[int, ...]]] = []
    for name, primitive in PRIMITIVES.items():
        if primitive.arity == 1:
            steps += [(name, (node,)) for node in range(nodes)]
        else:
            steps += [(name, (left, right)) for left in range(nodes) for right in range(nodes)]
    return steps


@pytest.mark.parametrize("constants", [0, 2])
def test_each_step_is_drawn_uniformly(constants: int) -> None:
    count = 60_000
    programs = construct(np.random.default_rng(0), count, num_constants=constants, num_operations=2, exact=True)
    graphs = [programs.graph(place) for place in range(count)]
    for step in range(2):
        possible = enumerate_steps(1 + constants + step)
        drawn = Counter((graph.operations[step].primitive, graph.operations[step].inputs) for graph in graphs)
        assert set(drawn) <= set(possible)
        expected = count / len(possible)
        # Chi-squared, whose standard deviation is the root of twice the degrees of freedom.
        statistic = sum((drawn[choice] - expected) ** 2 / expected for choice in possible)
        assert abs(statistic - (len(possible) - 1)) < 5 * (2 * len(possible)) ** 0.5


def test_outputs_are_the_nodes_without_successor() -> None:
    programs = construct(np.random.default_rng(0), 300, num_constants=3, num_operations=6)
    for place in range(300):
        graph = programs.graph(place)
        assert graph == Graph.closed(graph.constants, graph.operations)


def test_constants_lie_on_the_grid() -> None:
    programs = construct(np.random.default_rng(0), 400, num_constants=2, constant_step=0.25, constant_steps=4)
    assert set(programs.constants) == {0.25, 0.5, 0.75, 1.0}
    assert np.bincount((4 * programs.constants).astype(int))[1:].min() > 150


def test_number_of_operations() -> None:
    def lengths(exact: bool) -> Counter[int]:
        programs = construct(np.random.default_rng(0), 2200, num_operations=10, exact=exact)
        return Counter(np.diff(programs.operation_starts).tolist())

    assert lengths(True) == {10: 2200}
    assert set(lengths(False)) == set(range(11)) and min(lengths(False).values()) > 130


def test_one_graph_is_the_first_of_a_count_of_one() -> None:
    one = construct_graph(np.random.default_rng(5), num_constants=1, num_operations=4, constant_steps=3, exact=True)
    (many,) = construct(
        np.random.default_rng(5), 1, num_constants=1, num_operations=4, constant_steps=3, exact=True
    ).opcodes[None]
    assert [list(PRIMITIVES)[code] for code in many] == [operation.primitive for operation in one.operations]
    assert len(one.constants) == 1 and one.constants[0] in [0.05, 0.1, 0.15]


def test_same_seed_same_graphs() -> None:
    first, second = (construct(np.random.default_rng(3), 50) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first.arrays, second.arrays, strict=True))
