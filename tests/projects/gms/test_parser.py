"""What the parser reads, and how it says what it cannot read."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interpreter import interpret

from fastreid_ext.projects.gms.graph import Graph, Operation
from fastreid_ext.projects.gms.parser import MAX_DEPTH, MAX_LENGTH, MAX_NODES, ParseError, parse
from fastreid_ext.projects.gms.text import to_text


def sig(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def gd(x: float) -> float:
    return 2 * math.atan(math.tanh(x / 2))


# Table 3 and section K as printed, with exp(..) for e to a power and sqrt(..) for a root sign.
PRINTED: list[tuple[str, Callable[[float], float]]] = [
    (
        "(0.22 + exp(sqrt(0.22)))x + arcsin(0.22)^2",
        lambda x: (0.22 + math.e ** math.sqrt(0.22)) * x + math.asin(0.22) ** 2,
    ),
    ("x + 0.85", lambda x: x + 0.85),
    ("de(1-x)(x-0.7)", lambda x: (1 - x) * (x - 0.7)),
    ("[Gd(x - Sig(0.25))]_+", lambda x: max(gd(x - sig(0.25)), 0)),
    ("de(1.3-x)(x-1.0)", lambda x: (1.3 - x) * (x - 1)),
    ("0.35x - 0.35^2", lambda x: 0.35 * x - 0.35**2),
    ("(x - 0.84)(0.95 - x)", lambda x: (x - 0.84) * (0.95 - x)),
    ("[de(arcsin(x))]_+ + (x - 0.5) + 0.05", lambda x: max(math.asin(x), 0) + x - 0.45),
    ("x + 0.15", lambda x: x + 0.15),
    ("x + 0.2", lambda x: x + 0.2),
    ("de(1.4 - x)(x - 0.5)", lambda x: (1.4 - x) * (x - 0.5)),
    ("0.3 + (0.05 + x[sin(de(x))]_+)^2", lambda x: 0.3 + (0.05 + x * max(math.sin(x), 0)) ** 2),
]

WRITTEN: list[tuple[str, Callable[[float], float]]] = [
    ("1 - 2 - x", lambda x: -1 - x),
    ("1 - (2 - x)", lambda x: x - 1),
    ("8 / 2 / (x + 3)", lambda x: 4 / (x + 3)),
    ("1 + 2 * x^2", lambda x: 1 + 2 * x * x),
    ("-x^2", lambda x: -x * x),
    ("-0.5^2", lambda x: -0.25),
    ("(-0.5)^2", lambda x: 0.25),
    ("x - -0.5", lambda x: x + 0.5),
    ("x -0.5", lambda x: x - 0.5),
    ("--x", lambda x: x),
    ("-2(x - 1)x", lambda x: -2 * (x - 1) * x),
    ("1.5e-1x + .5 + 2.", lambda x: 0.15 * x + 2.5),
    ("2exp(x)", lambda x: 2 * math.exp(x)),
    ("||x| - 1|", lambda x: abs(abs(x) - 1)),
    ("|x| * |x - 1|", lambda x: abs(x) * abs(x - 1)),
    ("minus(x, mul(2, add(x, div(1, 4))))", lambda x: x - 2 * (x + 0.25)),
    ("sigmoid(neg(x)) - detach(square(X))", lambda x: sig(-x) - x * x),
    ("x\n  + 1\t", lambda x: x + 1),
    ("x(x - 1)", lambda x: x * (x - 1)),
]


@pytest.mark.parametrize(("text", "formula"), PRINTED + WRITTEN, ids=[text for text, _ in PRINTED + WRITTEN])
def test_text_computes_what_the_formula_says(text: str, formula: Callable[[float], float]) -> None:
    for x in (-0.9, -0.4, 0.0, 0.3, 0.8):
        assert interpret(parse(text), x) == pytest.approx(formula(x), abs=1e-12)
        assert interpret(parse(to_text(parse(text))), x) == interpret(parse(text), x)


def test_a_sign_before_a_number_belongs_to_it() -> None:
    assert parse("-0.5") == Graph((-0.5,), (), (1,))
    assert parse("-(0.5)") == Graph((0.5,), (Operation("neg", (1,)),), (2,))
    assert parse("--0.5") == Graph((-0.5,), (Operation("neg", (1,)),), (2,))
    assert math.copysign(1, parse("-0").constants[0]) == -1
    assert parse("-0 * (x + 0)").constants == (0, 0)


def test_what_is_written_twice_is_one_node() -> None:
    parsed = parse("sin(x + 0.5)^2 * sin(x + 0.50)")
    assert [operation.primitive for operation in parsed.operations] == ["add", "sin", "square", "mul"]
    assert parsed.constants == (0.5,)


def test_addends_of_the_whole_are_outputs_where_their_order_allows_it() -> None:
    assert parse("x + 0.15 + 0.2 + sin(x)").outputs == (0, 1, 2, 3)
    assert parse("x + x") == Graph((), (Operation("add", (0, 0)),), (1,))
    assert parse("sin(x) + x").outputs == (2,)
    assert [operation.primitive for operation in parse("sin(x) + x + cos(x)").operations] == ["sin", "add", "cos"]


def test_an_addition_that_is_used_stays() -> None:
    parsed = parse("x + 1 + sin(x + 1)")
    assert parsed == Graph((1.0,), (Operation("add", (0, 1)), Operation("sin", (2,))), (0, 1, 3))


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "expected a number, x, a function or (, not the end"),
        ("x + * 2", 4, "not '*'"),
        ("+x", 0, "not '+'"),
        ("x x 2", 4, "expected an operator or the end, not '2'"),
        ("(x - 1", 6, "expected an operator or ), not the end"),
        ("x)", 1, "expected an operator or the end, not ')'"),
        ("(x, 1)", 2, "expected an operator or ), not ','"),
        ("[x)", 2, "expected an operator or ]_+, not ')'"),
        ("[x] + 1", 2, "[..]_+ is the positive part"),
        ("|x", 2, "expected an operator or |, not the end"),
        ("x $ 2", 2, "'$' has no meaning here"),
        ("x + sgi(x)", 4, "unknown name 'sgi'; did you mean sin or sig?"),
        ("y - 1", 0, "unknown name 'y'; there are x and add, minus"),
        ("1 + e^x", 4, "unknown name 'e'; did you mean exp?"),
        ("sin x", 4, "expected ( after sin, not 'x'"),
        ("sin()", 4, "not ')'"),
        ("sin(x, 1)", 0, "sin takes 1 input, not 2"),
        ("2 + mul(x)", 4, "mul takes 2 inputs, not 1"),
        ("x^3", 1, "the only power is ^2"),
        ("x^2.5", 1, "the only power is ^2"),
        ("x^", 1, "the only power is ^2"),
        ("x^2^2", 3, "use parentheses"),
        ("1 / 2x", 5, "can be read in two ways: use parentheses"),
        ("x - 1e999", 4, "the number is too large"),
        ("-1e999", 1, "the number is too large"),
    ],
)
def test_errors_show_their_place(text: str, position: int, message: str) -> None:
    first, shown, caret = error_of(text)
    assert message in first
    assert shown == f"  {text}"
    assert caret == f"  {' ' * position}^"


def test_a_long_text_is_shown_around_the_place() -> None:
    text = "x + 1\n" * 30 + "$" + " + x" * 30
    first, shown, caret = error_of(text.replace("\n", "+\n"))
    assert "'$'" in first
    assert shown.startswith("  ...")
    assert shown.endswith("...")
    assert len(shown) < 90
    assert shown[caret.index("^")] == "$"


def test_limits() -> None:
    assert parse("(" * MAX_DEPTH + "x" + ")" * MAX_DEPTH) == parse("x" + " " * (MAX_LENGTH - 1))
    for nest in ("(", "sin(", "[", "|", "-("):
        assert f"{MAX_DEPTH} levels" in error_of(nest * (MAX_DEPTH + 1) + "x")[0]
    assert f"{MAX_LENGTH + 1} characters" in error_of("x" + " " * MAX_LENGTH)[0]
    # x, and as many negations.
    assert parse("-" * (MAX_NODES - 1) + "x").num_nodes == MAX_NODES
    assert f"{MAX_NODES} are allowed" in error_of("-" * MAX_NODES + "x")[0]
    assert f"{MAX_NODES} are allowed" in error_of("x" + " + x" * MAX_NODES)[0]
    assert f"{MAX_NODES} are allowed" in error_of("+".join(map(str, range(MAX_NODES))))[0]


def test_long_texts_of_few_nodes_do_not_recurse() -> None:
    few = "sin(x) * x"
    text = "-" + " - ".join([f"({few})"] * 250)
    assert parse(text).num_nodes < MAX_NODES
    assert error_of("2" + "x" * 60_000)[0].startswith("unknown name 'xxx")
    assert "are allowed" in error_of("x " * 30_000)[0]
    assert "are allowed" in error_of("-" * 60_000 + "x")[0]


def test_the_error_survives_pickling() -> None:
    with pytest.raises(ParseError) as caught:
        parse("x +")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


PIECES = ["x", "0.5", "2", "-", "+", "*", "/", "^2", "^", "(", ")", "[", "]_+", "|", ",", "sin(", "mul(", "e", "1e9"]


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=60))
@example("9" * 5_000)
@example("x\x00")
@example("²")
@example("٣")
@example("x^²")
@settings(max_examples=400, deadline=None, derandomize=True)
def test_any_text_is_a_graph_or_a_parse_error(text: str) -> None:
    try:
        parsed = parse(text)
    except ParseError as error:
        assert len(str(error).split("\n")) == 3
    else:
        assert parse(to_text(parsed)) == parsed


def error_of(text: str) -> tuple[str, str, str]:
    """The three lines of the error's message."""
    with pytest.raises(ParseError) as caught:
        parse(text)
    first, shown, caret = str(caught.value).split("\n")
    return first, shown, caret
