"""Mutations against the supplement's words, on small graphs and on long random sequences."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpreter import interpret
from random_graphs import graphs

from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.mutations import delete, insert, mutate, replace, step_constants, valid_mutations
from fastreid_ext.projects.gms.parser import parse
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.text import to_text

SEEDS = st.integers(0, 2**32 - 1)


def names(graph: Graph) -> Counter[str]:
    return Counter(operation.primitive for operation in graph.operations)


def takes_x(graph: Graph) -> bool:
    return 0 in graph.outputs or any(0 in operation.inputs for operation in graph.operations)


def sinks(graph: Graph) -> set[int]:
    return set(range(graph.num_nodes)).difference(*(operation.inputs for operation in graph.operations))


def results(mutation: str, text: str, draws: int = 3000) -> set[str]:
    """All that a mutation makes of a graph."""
    rng = np.random.default_rng(0)
    graph = parse(text)
    if mutation == "insert":
        return {to_text(insert(graph, rng, max_operations=10)) for _ in range(draws)}
    return {to_text({"delete": delete, "replace": replace}[mutation](graph, rng)) for _ in range(draws)}


def test_which_are_valid() -> None:
    assert valid_mutations(parse("x"), 1) == ("insert",)
    assert valid_mutations(parse("sin(x)"), 2) == ("insert", "delete", "replace")
    assert valid_mutations(parse("sin(x)"), 1) == ("delete", "replace")
    assert valid_mutations(parse("sin(cos(x))"), 1) == ("delete", "replace")
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="1 operations already"):
        insert(parse("sin(x)"), rng, max_operations=1)
    with pytest.raises(ValueError, match="no operation to delete"):
        delete(parse("x"), rng)
    with pytest.raises(ValueError, match="no operation to delete or replace"):
        replace(parse("x"), rng)
    with pytest.raises(ValueError, match="no mutation is possible"):
        mutate(parse("x"), rng, max_operations=0)


def test_insertion_goes_between_any_node_and_its_parent() -> None:
    made = results("insert", "sin(x)")
    unary = [name for name, primitive in PRIMITIVES.items() if primitive.arity == 1]
    texts = {to_text(parse(text)) for name in unary for text in (f"sin({name}(x))", f"{name}(sin(x))")}
    before = {f"sin(x {symbol} x)" for symbol in "+-*/"}
    # The output's other parent is any node, and an addition there is one of the outputs' forms.
    after = {f"sin(x) {symbol} {other}" for symbol in "+-*/" for other in ("x", "sin(x)")}
    after |= {f"x {symbol} sin(x)" for symbol in "+-*/"}
    assert made == texts | before | after


def test_insertion_takes_other_parents_from_before_the_selected_node() -> None:
    made = results("insert", "tanh(sin(x)) - 0.25")
    assert "tanh(sin(x + 0.25)) - 0.25" in made
    assert "tanh(0.25 * sin(x)) - 0.25" in made
    assert "tanh(sin(x)) - (0.25 - tanh(sin(x)))" in made
    # That would be a circle.
    assert not any("tanh(sin(x * sin" in text or "tanh(sin(x) * tanh" in text for text in made)


def test_deletion_gives_the_children_one_of_the_parents() -> None:
    assert results("delete", "sin(cos(x))") == {"sin(x)", "cos(x)"}
    # What has lost its only successor feeds the output.
    assert results("delete", "x - 0.25") == {"x + 0.25"}
    assert results("delete", "sin(x * 0.25)") == {"0.25 + sin(x)", "x + sin(0.25)", "x * 0.25"}
    assert results("delete", "sin(cos(x) - tanh(x))") == {
        "tanh(x) + sin(cos(x))",
        "cos(x) + sin(tanh(x))",
        "cos(x) - tanh(x)",
        "sin(x - tanh(x))",
        "sin(cos(x) - x)",
    }


def test_no_node_feeds_the_output_twice() -> None:
    # Without sin, x would come twice.
    assert results("delete", "x + sin(x)") == {"x"}


def test_replacement_keeps_the_parents_where_it_can() -> None:
    made = results("replace", "x - 0.25")
    binary = {f"x {symbol} 0.25" for symbol in "+-*/"}
    unary = [name for name, primitive in PRIMITIVES.items() if primitive.arity == 1]
    of_x = {f"0.25 + {to_text(parse(f'{name}(x)'))}" for name in unary}
    of_constant = {f"x + {to_text(parse(f'{name}(0.25)'))}" for name in unary}
    assert made == binary | of_x | of_constant


def test_replacement_by_a_binary_one_takes_another_earlier_node() -> None:
    made = results("replace", "sin(cos(x))")
    assert {"sin(x - x)", "cos(x) - x", "x - cos(x)", "cos(x) / cos(x)", "sin(exp(x))", "erf(cos(x))"} <= made
    assert not any("sin(x - cos" in text for text in made)


def test_an_x_that_nothing_used_stays_unused() -> None:
    rng = np.random.default_rng(0)
    graph = parse("sin(0.25)")
    assert not takes_x(graph)
    for _ in range(100):
        assert not takes_x(delete(graph, rng))
    assert any(takes_x(insert(graph, rng, max_operations=3)) for _ in range(100))
    assert to_text(delete(parse("x + sin(0.25)"), rng)) == "x + 0.25"


def test_constants_step_within_the_step() -> None:
    rng = np.random.default_rng(0)
    graph = parse("de(0.95 - x) * (x - 0.05)")
    stepped = [step_constants(graph, rng, 0.05) for _ in range(500)]
    first, second = np.array([made.constants for made in stepped]).T
    for values, start in ((first, 0.95), (second, 0.05)):
        assert start - 0.05 <= values.min() < start - 0.045
        assert start + 0.045 < values.max() <= start + 0.05
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.15
    assert {(made.operations, made.outputs) for made in stepped} == {(graph.operations, graph.outputs)}


@given(graphs(max_operations=6), SEEDS)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_sequence_of_mutations_gives_valid_graphs(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(12):
        before = graph
        graph, change = mutate(graph, rng, max_operations=6)
        assert len(graph.operations) <= 6
        assert graph.constants == before.constants
        assert takes_x(graph) or not takes_x(before)
        assert sinks(graph) - set(graph.outputs) <= {0}
        assert to_text(parse(to_text(graph))) == to_text(graph)
        assert Graph.from_json(graph.to_json()) == graph
        lost, gained = names(before) - names(graph), names(graph) - names(before)
        assert change.split()[0] in valid_mutations(before, 6)
        assert change.split(" ", 1)[1] == (" by ".join([*lost, *gained]) or "nothing")
        assert lost.total() - gained.total() == {"insert": -1, "delete": 1, "replace": 0}[change.split()[0]]


def test_an_inserted_detachment_changes_no_value() -> None:
    rng = np.random.default_rng(0)
    graph = parse("x + 0.5 + sin(x) * tanh(x - 0.5)")
    inserted = [insert(graph, rng, max_operations=10) for _ in range(300)]
    detached = [made for made in inserted if names(made)["de"]]
    assert len({to_text(made) for made in detached}) > 4
    for made in detached:
        assert interpret(made, 0.7) == pytest.approx(interpret(graph, 0.7), abs=1e-12)
