"""A parser of infix text, of a small grammar of its own.

sum     = product, {("+" | "-"), product}
product = factor, {("*" | "/"), factor | factor}     the second: `0.35x`, `de(1 - x)(x - 0.7)`
factor  = {"-"}, atom, ["^2"]                        a "-" before a number without "^2" makes a negative number
atom    = number | "x" | name, "(", sum, {",", sum}, ")" | "(", sum, ")" | "[", sum, "]_+" | "|", sum, "|"
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from fastreid_ext.projects.gms.graph import Graph, GraphError, Operation
from fastreid_ext.projects.gms.primitives import PRIMITIVES
from fastreid_ext.registry import close_matches

__all__ = ["MAX_DEPTH", "MAX_LENGTH", "MAX_NODES", "ParseError", "parse"]

MAX_LENGTH = 65_536
"""Characters of a text."""
MAX_DEPTH = 64
"""Parentheses within parentheses."""
MAX_NODES = 256
"""Different subexpressions of a text, x and numbers included."""

_FUNCTIONS = MappingProxyType({**{name: name for name in PRIMITIVES}, "detach": "de", "sigmoid": "sig"})
_SIGNS = str.maketrans(
    {"\N{MINUS SIGN}": "-", "\N{DOT OPERATOR}": "*", "\N{MIDDLE DOT}": "*", "\N{MULTIPLICATION SIGN}": "*"}
)
_EXCERPT = 72
_TOKEN = re.compile(
    r"(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<name>[A-Za-z][A-Za-z0-9_]*)"
    r"|(?P<symbol>\]_\+|[-+*/^()\[|,])"
    r"|(?P<space>\s+)"
)


class ParseError(GraphError):
    """Text that is no expression."""

    @classmethod
    def at(cls, text: str, position: int, message: str) -> ParseError:
        """The error that shows the text, or a part of it when it is long, with a caret under the position."""
        start = max(0, min(position - _EXCERPT // 2, len(text) - _EXCERPT))
        stop = start + _EXCERPT
        before, after = "..." * (start > 0), "..." * (stop < len(text))
        shown = "".join(letter if letter.isprintable() else " " for letter in text[start:stop])
        return cls(f"{message}\n  {before}{shown}{after}\n  {' ' * (len(before) + position - start)}^")


def parse(text: str) -> Graph:
    """The graph of infix text such as `de(1 - x)(x - 0.7)`.

    Names are those of `PRIMITIVES`, `detach` and `sigmoid`, in capitals or not; `[..]_+` is relu and `|..|` is abs.
    What is written twice becomes one node. The addends of the whole are outputs, where their order allows it: what
    `to_text` wrote comes back with the same text and, to the bit, the same values, and if no two nodes of the graph
    were the same expression, with no more nodes.

    Raises:
        ParseError: it is no expression, or too long, too deeply nested, or of too many different subexpressions.
    """
    if not isinstance(text, str):
        raise TypeError(f"a function is written as text, such as 'x - 0.35', not as {text!r}")
    # As papers print them.
    text = text.translate(_SIGNS)
    if len(text) > MAX_LENGTH:
        raise ParseError.at(text, MAX_LENGTH, f"the text has {len(text)} characters; {MAX_LENGTH} are allowed")
    return _Parser(text).parse()


class _Token(NamedTuple):
    kind: str | None
    text: str
    position: int


def _tokens(text: str) -> list[_Token]:
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            hint = "; [..]_+ is the positive part" if text[position] == "]" else ""
            raise ParseError.at(text, position, f"{text[position]!r} has no meaning here{hint}")
        if match.lastgroup != "space":
            tokens.append(_Token(match.lastgroup, match[0], position))
        position = match.end()
    return [*tokens, _Token("end", "", len(text))]


class _Nodes:
    """Nodes in the order of their first use, each once: x, numbers and operations."""

    def __init__(self) -> None:
        self._nodes: list[float | Operation | None] = [None]
        # By text, as 0.0 equals -0.0.
        self._numbers: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, node: float | Operation) -> int:
        key = repr(node)
        if key not in self._numbers:
            self._numbers[key] = len(self._nodes)
            self._nodes.append(node)
        return self._numbers[key]

    def graph(self, root: int) -> Graph:
        outputs = self._addends(root)
        used = set(outputs)
        for index in range(root, 0, -1):
            node = self._nodes[index]
            if index in used and isinstance(node, Operation):
                used.update(node.inputs)
        nodes = [(index, node) for index, node in enumerate(self._nodes) if index in used]
        constants = {index: node for index, node in nodes if isinstance(node, float)}
        operations = {index: node for index, node in nodes if isinstance(node, Operation)}
        number = {index: place for place, index in enumerate([0, *constants, *operations])}
        renumbered = (Operation(name, tuple(number[index] for index in inputs)) for name, inputs in operations.values())
        return Graph(tuple(constants.values()), tuple(renumbered), tuple(number[index] for index in outputs))

    def _addends(self, root: int) -> list[int]:
        """The addends of the root, as many of the last as are in the ascending order of a graph's outputs."""
        addends, best = [root], [root]
        while True:
            node = self._nodes[addends[0]]
            if not isinstance(node, Operation) or node.primitive != "add":
                return best
            addends[:1] = node.inputs
            places = [self._order(index) for index in addends]
            if all(earlier < later for earlier, later in pairwise(places)):
                best = addends.copy()

    def _order(self, index: int) -> tuple[bool, int]:
        return isinstance(self._nodes[index], Operation), index


class _Parser:
    """Recursive descent; every method reads what its name says and returns the node's number."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._place = 0
        self._depth = 0
        self._nodes = _Nodes()

    def parse(self) -> Graph:
        root = self._sum()
        if self._token.kind != "end":
            raise self._unexpected("an operator or the end")
        return self._nodes.graph(root)

    @property
    def _token(self) -> _Token:
        return self._tokens[self._place]

    def _next(self) -> _Token:
        token = self._token
        self._place += 1
        return token

    def _sum(self) -> int:
        left = self._product()
        while self._token.text in ("+", "-"):
            operator = self._next()
            left = self._add(Operation("add" if operator.text == "+" else "minus", (left, self._product())), operator)
        return left

    def _product(self) -> int:
        left, divided = self._factor(), False
        while True:
            token = self._token
            if token.text in ("*", "/"):
                self._next()
                divided = token.text == "/"
                left = self._add(Operation("div" if divided else "mul", (left, self._factor())), token)
            elif token.kind == "name" or token.text in ("(", "["):
                if divided:
                    raise self._error(token, "a product without * after a / can be read in two ways: use parentheses")
                left = self._add(Operation("mul", (left, self._factor())), token)
            else:
                return left

    def _factor(self) -> int:
        signs = []
        while self._token.text == "-":
            signs.append(self._next())
        if signs and self._token.kind == "number" and self._tokens[self._place + 1].text != "^":
            signs.pop()
            node = self._number(-1)
        else:
            node = self._power()
        for sign in reversed(signs):
            node = self._add(Operation("neg", (node,)), sign)
        return node

    def _power(self) -> int:
        node = self._atom()
        if self._token.text != "^":
            return node
        operator = self._next()
        if self._next().text != "2":
            raise self._error(operator, "the only power is ^2")
        if self._token.text == "^":
            raise self._error(self._token, "a power of a power: use parentheses, as in (x^2)^2")
        return self._add(Operation("square", (node,)), operator)

    def _atom(self) -> int:
        token = self._token
        if token.kind == "number":
            return self._number(1)
        if token.kind == "name":
            return self._named()
        if token.text == "(":
            (node,) = self._enclosed(")")
            return node
        if token.text == "[":
            return self._add(Operation("relu", self._enclosed("]_+")), token)
        if token.text == "|":
            return self._add(Operation("abs", self._enclosed("|")), token)
        raise self._unexpected("a number, x, a function or (")

    def _number(self, sign: int) -> int:
        token = self._next()
        value = sign * float(token.text)
        if not math.isfinite(value):
            raise self._error(token, "the number is too large")
        return self._add(value, token)

    def _named(self) -> int:
        token = self._next()
        name = token.text.lower()
        if name == "x":
            return 0
        if name not in _FUNCTIONS:
            matches = ["exp"] if name == "e" else close_matches(name, _FUNCTIONS)
            hint = f"did you mean {' or '.join(matches)}?" if matches else f"there are x and {', '.join(PRIMITIVES)}"
            raise self._error(token, f"unknown name {token.text!r}; {hint}")
        if self._token.text != "(":
            raise self._unexpected(f"( after {token.text}")
        primitive = PRIMITIVES[_FUNCTIONS[name]]
        inputs = self._enclosed(")", commas=True)
        if len(inputs) != primitive.arity:
            wanted = "1 input" if primitive.arity == 1 else f"{primitive.arity} inputs"
            raise self._error(token, f"{token.text} takes {wanted}, not {len(inputs)}")
        return self._add(Operation(primitive.name, inputs), token)

    def _enclosed(self, end: str, *, commas: bool = False) -> tuple[int, ...]:
        """What is between an opening token and `end`: one sum or, where `commas` are allowed, several."""
        opening = self._next()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(opening, f"nested too deeply; {MAX_DEPTH} levels are allowed")
        nodes = [self._sum()]
        while commas and self._token.text == ",":
            self._next()
            nodes.append(self._sum())
        if self._token.text != end:
            raise self._unexpected(f"an operator or {end}")
        self._next()
        self._depth -= 1
        return tuple(nodes)

    def _add(self, node: float | Operation, token: _Token) -> int:
        number = self._nodes.add(node)
        if len(self._nodes) > MAX_NODES:
            raise self._error(token, f"too many different subexpressions; {MAX_NODES} are allowed")
        return number

    def _unexpected(self, expected: str) -> ParseError:
        token = self._token
        found = "the end" if token.kind == "end" else repr(token.text)
        return self._error(token, f"expected {expected}, not {found}")

    def _error(self, token: _Token, message: str) -> ParseError:
        return ParseError.at(self._text, token.position, message)
