"""Graphs as LaTeX."""

from __future__ import annotations

from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.precedence import Notation, typeset
from fastreid_ext.projects.gms.primitives import PRIMITIVES

__all__ = ["to_latex"]

_LATEX = Notation(
    variable="x",
    number="{0}",
    scientific=r"{0} \times 10^{{{1}}}",
    parentheses=r"\left({0}\right)",
    dotted=r"{0} \cdot {1}",
    omission=r"\cdots",
    templates={name: primitive.latex for name, primitive in PRIMITIVES.items()},
)


def to_latex(graph: Graph, *, digits: int | None = None) -> str:
    r"""The graph's formula for LaTeX's math mode, such as `\left(x - 0.84\right) \left(0.95 - x\right)`.

    A part longer than 20,000 characters, which shared nodes can make, becomes `\cdots`.

    Args:
        graph: what to write.
        digits: significant ones of the constants; None writes them exactly.
    """
    return typeset(graph, _LATEX, digits)
