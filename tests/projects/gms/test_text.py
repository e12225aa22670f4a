"""The infix text of graphs."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given, settings
from interpreter import interpret
from random_graphs import graphs

from fastreid_ext.projects.gms.graph import Graph, Operation
from fastreid_ext.projects.gms.parser import MAX_LENGTH, parse
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.text import to_text

X, A, B = 0, 1, 2


def graph(*operations: tuple[str, int] | tuple[str, int, int], constants: tuple[float, ...] = (0.5, 2.0)) -> Graph:
    return Graph.closed(constants, [Operation(name, tuple(inputs)) for name, *inputs in operations])


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (graph(constants=()), "x"),
        (graph(constants=(0.05,)), "x + 0.05"),
        (graph(constants=(-0.05, 1.0)), "x + -0.05 + 1"),
        (graph(constants=(-0.0, 1e-7, 1e300)), "x + -0 + 1e-07 + 1e+300"),
        (graph(("minus", A, X), ("de", 3), ("minus", X, B), ("mul", 4, 5)), "de(0.5 - x) * (x - 2)"),
        (graph(("add", X, A), ("minus", 3, B)), "x + 0.5 - 2"),
        (graph(("add", X, A), ("minus", B, 3)), "2 - (x + 0.5)"),
        (graph(("mul", X, A), ("div", 3, B)), "x * 0.5 / 2"),
        (graph(("mul", X, A), ("div", B, 3)), "2 / (x * 0.5)"),
        (graph(("add", A, B), ("square", 3), ("neg", 4), ("mul", X, 5)), "x * -(0.5 + 2)^2"),
        (graph(("neg", A), ("square", 3), ("mul", 4, B), ("mul", X, 5)), "x * ((-(0.5))^2 * 2)"),
        (graph(("neg", A), ("mul", X, 2), constants=(-0.5,)), "x * -(-0.5)"),
        (graph(("square", A), ("mul", X, 2), constants=(-0.5,)), "x * (-0.5)^2"),
        (graph(("square", X), ("square", 1), ("neg", 2), ("neg", 3), constants=()), "-(-(x^2)^2)"),
        (graph(("sin", X), ("sin", X), constants=()), "sin(x) + sin(x)"),
        (graph(("minus", X, A), ("add", X, B), ("tanh", 3), ("erf", 3)), "x + 2 + tanh(x - 0.5) + erf(x - 0.5)"),
        (graph(("add", X, A), ("minus", X, B)), "x + 0.5 + (x - 2)"),
    ],
)
def test_parentheses_only_where_they_are_needed(made: Graph, text: str) -> None:
    assert to_text(made) == str(made) == text
    assert to_text(parse(text)) == text


@given(graphs())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_text_comes_back_with_the_same_text_and_values(made: Graph) -> None:
    text = to_text(made)
    parsed = parse(text)
    assert to_text(parsed) == text
    for x in (-1.0, -0.3, 0.0, 0.7, 1.0):
        assert bits(interpret(parsed, x)) == bits(interpret(made, x))


@given(graphs())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_what_was_parsed_comes_back_as_the_same_graph(made: Graph) -> None:
    # The first parse makes twins one, drops the last additions, and orders constants by appearance.
    parsed = parse(to_text(made))
    again = parse(to_text(parsed))
    assert again == parsed
    assert json.dumps(again.to_json()) == json.dumps(parsed.to_json())


@given(graphs())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_without_twins_there_are_no_more_nodes(made: Graph) -> None:
    if not has_twins(made):
        assert parse(to_text(made)).num_nodes <= made.num_nodes


@given(graphs())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_json_is_exact(made: Graph) -> None:
    again = Graph.from_json(json.loads(json.dumps(made.to_json())))
    assert again == made
    assert repr(again) == repr(made)


def test_the_longest_text_of_ten_operations_is_read() -> None:
    operations = [Operation("mul", (node, node)) for node in range(1, 10)]
    made = Graph.closed((), [Operation("softplus", (0,)), *operations])
    text = to_text(made)
    assert 5_000 < len(text) < 30_000 < MAX_LENGTH
    assert parse(text) == made


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_primitive_has_text(name: str) -> None:
    inputs = (X, A)[: PRIMITIVES[name].arity]
    constants = (0.25,) if len(inputs) == 2 else ()
    # As the input of another, since the addends of a whole text are outputs.
    made = Graph.closed(constants, [Operation(name, inputs), Operation("sin", (1 + len(constants),))])
    assert parse(to_text(made)) == made


def bits(value: float) -> bytes:
    return b"not a number" if value != value else struct.pack("d", value)


def has_twins(made: Graph) -> bool:
    keys: list[object] = ["x", *map(repr, made.constants)]
    for name, inputs in made.operations:
        keys.append((name, tuple(keys[node] for node in inputs)))
    return len(set(keys)) < len(keys)
