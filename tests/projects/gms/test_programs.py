"""Graphs as arrays, and what is computed from them, against torch's functions and autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastreid_ext.projects.gms.construct import construct
from fastreid_ext.projects.gms.graph import Graph, Operation
from fastreid_ext.projects.gms.kernels import evaluate
from fastreid_ext.projects.gms.parser import parse
from fastreid_ext.projects.gms.presets import PRESETS
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.projects.gms.programs import OPCODES, Programs, encode, encode_losses

Numbers = NDArray[np.float64]

POINTS = np.linspace(-1, 1, 257)
# Beyond and inside of where arguments are held; not the limits themselves, where versions of torch differ.
WIDE = np.concatenate([np.linspace(-3, 3, 601), [5e-8, -5e-8, 2e-7, -2e-7, 1 - 5e-8, 5e-8 - 1, 1 - 2e-7, 40, -40]])


def run(
    graphs: list[Graph] | Programs, points: Numbers, *, strict: bool = True, which: list[int] | None = None
) -> tuple[Numbers, Numbers, Numbers]:
    programs = graphs if isinstance(graphs, Programs) else encode(graphs)
    places = np.arange(len(programs)) if which is None else np.array(which)
    shape = (len(places), points.shape[-1])
    values, slopes, faults = np.empty(shape), np.empty(shape), np.empty((len(places), 3))
    evaluate(programs.arrays, places, np.atleast_2d(points), strict, values, slopes, faults)
    return values, slopes, faults


def by_autograd(graph: Graph, points: Numbers) -> tuple[Numbers, Numbers]:
    x = torch.from_numpy(points.copy()).requires_grad_()
    nodes = [x, *(torch.full_like(x, constant) for constant in graph.constants)]
    for name, inputs in graph.operations:
        nodes.append(PRIMITIVES[name].function(*(nodes[node] for node in inputs)))
    result = sum((nodes[node] for node in graph.outputs), start=0 * x)
    (slope,) = torch.autograd.grad(result.sum(), x)
    return result.detach().numpy(), slope.numpy()


def close(a: Numbers, b: Numbers, tolerance: float = 1e-12) -> bool:
    return bool((abs(a - b) <= tolerance * np.maximum(1, abs(b))).all())


@pytest.mark.parametrize("name", PRIMITIVES)
def test_primitives_are_those_of_torch(name: str) -> None:
    choices = [(0,)] if PRIMITIVES[name].arity == 1 else [(0, 1), (1, 0), (0, 0)]
    graphs = [Graph.closed((0.35,), (Operation(name, inputs),)) for inputs in choices]
    values, slopes, faults = run(graphs, WIDE, strict=False)
    assert (faults[:, 0] == -1).all()
    for graph, value, slope in zip(graphs, values, slopes, strict=True):
        expected = by_autograd(graph, WIDE)
        assert close(value, expected[0]) and close(slope, expected[1])


def test_random_graphs_are_those_of_torch() -> None:
    programs = construct(np.random.default_rng(0), 300)
    values, slopes, faults = run(programs, POINTS)
    fine = np.flatnonzero(faults[:, 0] < 0)
    assert len(fine) > 100
    for k in fine:
        expected = by_autograd(programs.graph(k), POINTS)
        # Backwards, terms that cancel are added in another order.
        assert close(values[k], expected[0]) and close(slopes[k], expected[1], 1e-9)


def test_presets_are_those_of_torch() -> None:
    graphs = [graph for loss in PRESETS.values() for graph in (loss.target, loss.nontarget)]
    values, slopes, faults = run(graphs, POINTS)
    assert (faults[:, 0] == -1).all()
    for graph, value, slope in zip(graphs, values, slopes, strict=True):
        expected = by_autograd(graph, POINTS)
        assert close(value, expected[0]) and close(slope, expected[1])


def test_each_graph_has_its_own_points() -> None:
    graphs = [parse("x^2"), parse("sin(x) + 0.5"), parse("exp(x) * 0.3")]
    points = np.random.default_rng(0).uniform(-1, 1, (2, 5))
    values, slopes, _ = run(graphs, points, which=[2, 0])
    assert close(values, np.stack([0.3 * np.exp(points[0]), points[1] ** 2]))
    assert close(slopes, np.stack([0.3 * np.exp(points[0]), 2 * points[1]]))


@pytest.mark.parametrize(
    ("text", "node", "x", "argument"),
    [
        ("log(x + 0.5)", 3, -1, -0.5),
        ("log(x + 1)", 3, -1, 0),
        ("sqrt(0.25 - x^2)", 4, -1, -0.75),
        ("arccos(x * 1.1)", 3, -1, -1.1),
        ("arcsin(x + 0.00001)", 3, 1, 1.00001),
        ("1 / x", 2, 0, 0),
        ("inv(x - 0.5)", 3, 0.5, 0),
        ("exp(x * 1000)", 3, 0.0859375, 85.9375),
        ("exp(x * 84) + exp(x * 83.9)", 7, 1, 0),
    ],
)
def test_faults(text: str, node: int, x: float, argument: float) -> None:
    ((found, place, taken),) = run([parse(text)], POINTS)[2]
    assert (found, POINTS[int(place)]) == (node, x)
    assert taken == pytest.approx(argument, abs=1e-12) or found == 7


@pytest.mark.parametrize(
    "text", ["arccos(x)", "sqrt(1 - x^2)", "arcsin(x * 1.0000005)", "inv(x + 1.001)", "log(x + 1.01)"]
)
def test_edges_of_the_domain_are_inside(text: str) -> None:
    values, slopes, faults = run([parse(text)], POINTS)
    assert faults[0, 0] == -1 and np.isfinite(values).all() and np.isfinite(slopes).all()


def test_outside_of_its_domain_a_function_is_held_unless_strict() -> None:
    assert run([parse("log(x)")], POINTS, strict=True)[2][0, 0] == 1
    values, slopes, faults = run([parse("log(x)")], POINTS, strict=False)
    assert faults[0, 0] == -1 and close(values[0, :129], np.full(129, np.log(1e-7))) and (slopes[0, :129] == 0).all()


def test_not_a_number_is_a_fault() -> None:
    assert run([parse("x")], np.array([0.5, np.nan]))[2][0, :2].tolist() == [1, 1]


def test_numbers_are_places_in_the_table() -> None:
    assert list(OPCODES) == list(PRIMITIVES) and list(OPCODES.values()) == list(range(24))


def test_graphs_come_back() -> None:
    graphs = [
        *(graph for loss in PRESETS.values() for graph in (loss.target, loss.nontarget)),
        parse("0.5"),
        parse("+".join(["x * 0.1"] * 60)),
        Graph((), (Operation("sin", (0,)), Operation("add", (1, 0))), (0, 1, 2)),
    ]
    programs = encode(graphs)
    assert len(programs) == len(graphs)
    assert [programs.graph(place) for place in range(len(graphs))] == graphs
    losses = encode_losses(list(PRESETS.values()))
    assert [losses.candidate(place) for place in range(len(losses))] == list(PRESETS.values())


def test_nothing_can_be_encoded() -> None:
    assert len(encode([])) == 0 and len(encode_losses([])) == 0
