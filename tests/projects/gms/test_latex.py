from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from fastreid_ext.projects.gms.construct import construct_graph
from fastreid_ext.projects.gms.graph import Graph, Operation
from fastreid_ext.projects.gms.latex import to_latex
from fastreid_ext.projects.gms.mathml import to_mathml
from fastreid_ext.projects.gms.parser import parse
from fastreid_ext.projects.gms.primitives import PRIMITIVES

PRINTED = [
    # Table 3.
    (
        "(0.22 + exp(sqrt(0.22)))*x + square(arcsin(0.22))",
        r"\left(0.22 + e^{\sqrt{0.22}}\right) x + \arcsin\left(0.22\right)^2",
        "(0.22+e^√0.22)x+arcsin(0.22)^2",
    ),
    ("x + 0.85", "x + 0.85", "x+0.85"),
    ("de(1 - x)*(x - 0.7)", r"\mathrm{de}\left(1 - x\right) \left(x - 0.7\right)", "de(1-x)(x-0.7)"),
    (
        "relu(gd(x - sig(0.25)))",
        r"\left[\mathrm{Gd}\left(x - \mathrm{Sig}\left(0.25\right)\right)\right]_+",
        "[Gd(x-Sig(0.25))]_+",
    ),
    ("de(1.3 - x)*(x - 1.0)", r"\mathrm{de}\left(1.3 - x\right) \left(x - 1\right)", "de(1.3-x)(x-1)"),
    ("0.35*x - square(0.35)", "0.35 x - 0.35^2", "0.35x-0.35^2"),
    ("(x - 0.84)*(0.95 - x)", r"\left(x - 0.84\right) \left(0.95 - x\right)", "(x-0.84)(0.95-x)"),
    (
        "relu(de(arcsin(x))) + (x - 0.5) + 0.05",
        r"\left[\mathrm{de}\left(\arcsin\left(x\right)\right)\right]_+ + x - 0.5 + 0.05",
        "[de(arcsin(x))]_++x-0.5+0.05",
    ),
    # Section K.
    ("de(1.4 - x)*(x - 0.5)", r"\mathrm{de}\left(1.4 - x\right) \left(x - 0.5\right)", "de(1.4-x)(x-0.5)"),
    (
        "0.3 + square(0.05 + x*relu(sin(de(x))))",
        r"0.3 + \left(0.05 + x \left[\sin\left(\mathrm{de}\left(x\right)\right)\right]_+\right)^2",
        "0.3+(0.05+x[sin(de(x))]_+)^2",
    ),
]


def flat(mathml: str) -> str:
    """What a reader sees, on one line: indices after _, exponents after ^."""
    root = ElementTree.fromstring(mathml)

    def text(node: ElementTree.Element) -> str:
        parts = [text(child) for child in node]
        if node.tag in ("msub", "msup"):
            base, mark = parts
            return f"{base}{'_' if node.tag == 'msub' else '^'}{mark}"
        if node.tag == "mfrac":
            return "{" + "}/{".join(parts) + "}"
        return ("√" if node.tag == "msqrt" else "") + (node.text or "") + "".join(parts)

    seen = re.sub("[\N{FUNCTION APPLICATION}\N{INVISIBLE TIMES}]", "", text(root))
    return seen.replace("\N{MINUS SIGN}", "-")


def test_mathml_markup() -> None:
    assert to_mathml(parse("0.5*(x - square(x))")) == (
        '<math><mrow><mn>0.5</mn><mo>\N{INVISIBLE TIMES}</mo><mspace width="0.15em"/><mrow><mo>(</mo><mi>x</mi>'
        "<mo>\N{MINUS SIGN}</mo><msup><mrow><mi>x</mi></mrow><mn>2</mn></msup><mo>)</mo></mrow></mrow></math>"
    )


@pytest.mark.parametrize(("infix", "latex", "seen"), PRINTED, ids=[row[0] for row in PRINTED])
def test_printed_losses(infix: str, latex: str, seen: str) -> None:
    graph = parse(infix)
    assert to_latex(graph) == latex
    assert flat(to_mathml(graph)) == seen


def graph(constants: list[float], *operations: Any) -> Graph:
    return Graph.closed(constants, [Operation(name, tuple(inputs)) for name, *inputs in operations])


@pytest.mark.parametrize(
    ("value", "latex"),
    [
        (graph([0.5], ("mul", 0, 1)), r"x \cdot 0.5"),
        (graph([0.5, 0.5], ("mul", 1, 2), ("mul", 3, 0)), r"0.5 \cdot 0.5 x"),
        (graph([-0.5], ("add", 0, 1)), r"x + \left(-0.5\right)"),
        (graph([-0.5], ("add", 1, 0)), "-0.5 + x"),
        (graph([-0.5], ("mul", 1, 0)), r"\left(-0.5\right) x"),
        (graph([-0.5], ("square", 1), ("add", 2, 0)), r"\left(-0.5\right)^2 + x"),
        (graph([1e-7], ("mul", 1, 0)), r"1 \times 10^{-7} x"),
        (graph([1e-7], ("square", 1), ("mul", 0, 2)), r"x \left(1 \times 10^{-7}\right)^2"),
        (graph([], ("exp", 0), ("square", 1)), r"\left(e^{x}\right)^2"),
        (graph([], ("square", 0), ("square", 1)), r"\left(x^2\right)^2"),
        (graph([], ("exp", 0), ("exp", 1)), "e^{e^{x}}"),
        (graph([2.0], ("inv", 0), ("mul", 1, 2)), r"2 \cdot \frac{1}{x}"),
        (graph([2.0], ("add", 0, 1), ("minus", 0, 2), ("div", 3, 2)), r"\frac{x - \left(x + 2\right)}{x + 2}"),
        (graph([], ("neg", 0), ("neg", 1), ("add", 0, 2)), r"x + \left(-\left(-x\right)\right)"),
        (graph([], ("neg", 0), ("add", 1, 0), ("add", 0, 2)), r"x + \left(-x + x\right)"),
        (graph([], ("mul", 0, 0), ("neg", 1)), "-x x"),
        (graph([], ("abs", 0), ("square", 1)), r"\left|x\right|^2"),
        (graph([], ("softplus", 0)), r"\log\left(1 + e^{x}\right)"),
        (graph([], ("sin", 0), ("neg", 0)), r"\sin\left(x\right) + \left(-x\right)"),
        (graph([]), "x"),
    ],
)
def test_parentheses_only_where_needed(value: Graph, latex: str) -> None:
    assert to_latex(value) == latex


def test_digits_round_for_display_only_when_asked() -> None:
    value = graph([0.123456789], ("add", 0, 1))
    assert to_latex(value) == "x + 0.123456789"
    assert to_latex(value, digits=4) == "x + 0.1235"
    assert "<mn>0.1235</mn>" in to_mathml(value, digits=4)


@pytest.mark.parametrize("name", PRIMITIVES)
def test_every_primitive_in_both(name: str) -> None:
    operation = Operation(name, (0, 1)[: PRIMITIVES[name].arity])
    value = Graph.closed([0.5] if len(operation.inputs) == 2 else [], [operation])
    assert to_latex(value).count("{") == to_latex(value).count("}")
    assert "x" in flat(to_mathml(value)) and "{0}" not in to_mathml(value)


def test_mathml_of_random_graphs_is_xml() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        value = construct_graph(rng, num_constants=2, num_operations=10, constant_step=0.05, constant_steps=20)
        root = ElementTree.fromstring(to_mathml(value))
        assert root.tag == "math"
        arities = {node.tag: len(node) for node in root.iter() if node.tag in ("mfrac", "msup", "msub")}
        assert set(arities.values()) <= {2}
        latex = to_latex(value)
        assert latex.count("{") == latex.count("}") and latex.count(r"\left") == latex.count(r"\right")


def test_shared_nodes_do_not_explode() -> None:
    value = Graph.closed([], [Operation("mul", (node, node)) for node in range(200)])
    assert len(to_latex(value)) < 50_000 and r"\cdots" in to_latex(value)
    ElementTree.fromstring(to_mathml(value))


def test_deep_graphs_need_no_recursion() -> None:
    value = Graph.closed([], [Operation("neg", (node,)) for node in range(5000)])
    assert to_latex(value)
    assert to_mathml(value)
