"""Graphs as infix text."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from fastreid_ext.projects.gms.graph import Graph, Operation

__all__ = ["to_text"]


class _Level(IntEnum):
    """How tightly the outermost operation of a text holds its inputs."""

    SUM = 0
    PRODUCT = 1
    SIGN = 2
    POWER = 3
    ATOM = 4


class _Text(NamedTuple):
    text: str
    level: _Level

    def within(self, level: _Level) -> str:
        """The text where at least `level` is needed."""
        return self.text if self.level >= level else f"({self.text})"


_INFIX = {
    "add": ("+", _Level.SUM),
    "minus": ("-", _Level.SUM),
    "mul": ("*", _Level.PRODUCT),
    "div": ("/", _Level.PRODUCT),
}


def to_text(graph: Graph) -> str:
    """Infix text that `parse` reads back, such as `de(1 - x) * (x - 0.7)`.

    Operations are functions by the names in `PRIMITIVES`, except `+ - * /`, a square (`^2`) and a negation (prefix
    `-`). Several outputs are a sum. `-0.5` is a constant, `-(0.5)` the negation of one. A node that several others take
    is written out for each of them.
    """
    texts = [_Text("x", _Level.ATOM), *map(_constant, graph.constants)]
    for operation in graph.operations:
        texts.append(_operation(operation, texts, first=1 + len(graph.constants)))
    result, *others = (texts[node] for node in graph.outputs)
    for other in others:
        result = _infix("add", result, other)
    return result.text


def _constant(value: float) -> _Text:
    text = repr(value).removesuffix(".0")
    return _Text(text, _Level.SIGN if text.startswith("-") else _Level.ATOM)


def _operation(operation: Operation, texts: list[_Text], first: int) -> _Text:
    name, inputs = operation
    operands = [texts[node] for node in inputs]
    if name in _INFIX:
        return _infix(name, *operands)
    (operand,) = operands
    if name == "square":
        return _Text(f"{operand.within(_Level.ATOM)}^2", _Level.POWER)
    if name == "neg":
        constant = 1 <= inputs[0] < first
        return _Text(f"-({operand.text})" if constant else f"-{operand.within(_Level.POWER)}", _Level.SIGN)
    return _Text(f"{name}({operand.text})", _Level.ATOM)


def _infix(name: str, left: _Text, right: _Text) -> _Text:
    symbol, level = _INFIX[name]
    # One level more on the right, because chains are read from the left.
    return _Text(f"{left.within(level)} {symbol} {right.within(_Level(level + 1))}", level)
