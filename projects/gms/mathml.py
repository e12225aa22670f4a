"""Graphs as MathML, which browsers show without a library."""

from __future__ import annotations

from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.precedence import Notation, typeset

__all__ = ["to_mathml"]

_APPLY = "<mo>\N{FUNCTION APPLICATION}</mo>"
_PARENTHESES = "<mrow><mo>(</mo>{0}<mo>)</mo></mrow>"


def _function(name: str) -> str:
    return f"<mrow><mi>{name}</mi>{_APPLY}{_PARENTHESES}</mrow>"


def _fenced(opening: str, closing: str) -> str:
    return (
        f'<mrow><mo fence="true" form="prefix" stretchy="true">{opening}</mo>{{0}}'
        f'<mo fence="true" form="postfix" stretchy="true">{closing}</mo></mrow>'
    )


_EXP = "<msup><mi>e</mi><mrow>{0}</mrow></msup>"
_NOTATION = Notation(
    variable="<mi>x</mi>",
    number="<mn>{0}</mn>",
    scientific="<mn>{0}</mn><mo>\N{MULTIPLICATION SIGN}</mo><msup><mn>10</mn><mn>{1}</mn></msup>",
    parentheses=_PARENTHESES,
    dotted="{0}<mo>·</mo>{1}",
    omission="<mi>⋯</mi>",
    templates={
        "add": "{0}<mo>+</mo>{1}",
        "minus": "{0}<mo>\N{MINUS SIGN}</mo>{1}",
        "mul": '{0}<mo>\N{INVISIBLE TIMES}</mo><mspace width="0.15em"/>{1}',
        "div": "<mfrac><mrow>{0}</mrow><mrow>{1}</mrow></mfrac>",
        "neg": '<mrow><mo form="prefix">\N{MINUS SIGN}</mo>{0}</mrow>',
        "abs": _fenced("|", "|"),
        "inv": "<mfrac><mn>1</mn><mrow>{0}</mrow></mfrac>",
        "exp": _EXP,
        "square": "<msup><mrow>{0}</mrow><mn>2</mn></msup>",
        "sqrt": "<msqrt>{0}</msqrt>",
        "relu": f"<msub>{_fenced('[', ']')}<mo>+</mo></msub>",
        "softplus": _function("log").replace("{0}", f"<mn>1</mn><mo>+</mo>{_EXP}"),
        **{name: _function(name) for name in ("log", "tanh", "sin", "cos", "arcsin", "arccos", "de")},
        **{name: _function(name.capitalize()) for name in ("sig", "gd", "alf", "erf", "erfc")},
    },
)


def to_mathml(graph: Graph, *, digits: int | None = None) -> str:
    """The graph's formula as presentation MathML: one `math` element, well-formed as XML and as HTML.

    A part longer than 20,000 characters, which shared nodes can make, becomes an ellipsis.

    Args:
        graph: what to write.
        digits: significant ones of the constants; None writes them exactly.
    """
    return f"<math><mrow>{typeset(graph, _NOTATION, digits)}</mrow></math>"
