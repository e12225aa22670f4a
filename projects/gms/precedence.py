"""Formulas in two dimensions: which part of one needs parentheses, whatever it is written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice

from fastreid_ext.projects.gms.graph import Graph

__all__ = ["Notation", "typeset"]

# Shared nodes are written out where they are used: a chain of squares doubles with every one.
LONGEST = 20_000


class Level(IntEnum):
    """How tightly a part holds together."""

    SUM = 0
    PRODUCT = 1
    POWER = 2
    ATOM = 3


@dataclass(frozen=True)
class Notation:
    """How a language writes things, as templates of `str.format`.

    Attributes:
        variable: x.
        number: a number that is not negative.
        scientific: a number of a mantissa and a power of ten.
        parentheses: around a part.
        dotted: a product whose second factor must not stand right behind the first.
        omission: for a part too long to be written.
        templates: for each primitive, with `{0}` and `{1}` for the inputs.
    """

    variable: str
    number: str
    scientific: str
    parentheses: str
    dotted: str
    omission: str
    templates: Mapping[str, str]


@dataclass(frozen=True)
class _Part:
    """Text, and what its surroundings must know: does it begin with a minus, with a digit or a fraction?"""

    text: str
    level: Level = Level.ATOM
    negative: bool = False
    numeric: bool = False


_LEVELS = {
    "add": Level.SUM,
    "minus": Level.SUM,
    "neg": Level.SUM,
    "mul": Level.PRODUCT,
    # Bars and exponents hold what is in them; they need parentheses only below a square.
    "div": Level.POWER,
    "inv": Level.POWER,
    "exp": Level.POWER,
    "square": Level.POWER,
}
_NEEDED = {
    "minus": (Level.SUM, Level.PRODUCT),
    "neg": (Level.PRODUCT,),
    "mul": (Level.PRODUCT, Level.PRODUCT),
    "square": (Level.ATOM,),
}


def typeset(graph: Graph, notation: Notation, digits: int | None = None) -> str:
    """The graph's formula in a notation, with parentheses only where they are needed.

    Args:
        graph: what to write.
        notation: in what.
        digits: significant ones of the constants; None writes them exactly.
    """
    parts = [_Part(notation.variable), *(_number(constant, notation, digits) for constant in graph.constants)]
    for name, inputs in graph.operations:
        parts.append(_apply(name, [parts[node] for node in inputs], notation))
    total = parts[graph.outputs[0]]
    for node in islice(graph.outputs, 1, None):
        total = _apply("add", [total, parts[node]], notation)
    return total.text


def _number(value: float, notation: Notation, digits: int | None) -> _Part:
    text = repr(abs(value)) if digits is None else f"{abs(value):.{digits}g}"
    mantissa, _, exponent = text.partition("e")
    mantissa = mantissa.removesuffix(".0")
    if exponent:
        part = _Part(notation.scientific.format(mantissa, str(int(exponent))), Level.PRODUCT, numeric=True)
    else:
        part = _Part(notation.number.format(mantissa), numeric=True)
    return _apply("neg", [part], notation) if value < 0 else part


def _apply(name: str, inputs: list[_Part], notation: Notation) -> _Part:
    needed = _NEEDED.get(name, (Level.SUM, Level.SUM))
    parts = [
        _enclosed(part, notation) if part.level < level or (part.negative and place == 1) else part
        for place, (part, level) in enumerate(zip(inputs, needed, strict=False))
    ]
    template = notation.dotted if name == "mul" and parts[1].numeric else notation.templates[name]
    text = template.format(*(part.text for part in parts))
    if len(text) > LONGEST:
        return _Part(notation.omission)
    level = _LEVELS.get(name, Level.ATOM)
    begins_with_first = name in ("add", "minus", "mul", "square")
    return _Part(
        text,
        level,
        negative=name == "neg" or (begins_with_first and parts[0].negative),
        numeric=name in ("div", "inv") or (begins_with_first and parts[0].numeric),
    )


def _enclosed(part: _Part, notation: Notation) -> _Part:
    return _Part(notation.parentheses.format(part.text))
