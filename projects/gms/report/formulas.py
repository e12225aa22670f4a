"""A candidate's formulas on the page."""

from __future__ import annotations

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.graph import Graph, GraphError
from fastreid_ext.projects.gms.latex import to_latex
from fastreid_ext.projects.gms.mathml import to_mathml
from fastreid_ext.projects.gms.report.markup import element, escaped, figure
from fastreid_ext.search.protocols import Trial

__all__ = ["candidate_of", "copyable", "formulas", "inline_formulas"]

_DIGITS = 4


def candidate_of(trial: Trial) -> Candidate | None:
    """The trial's candidate, or None where the file holds something else."""
    try:
        return Candidate.from_json(trial.proposal.candidate)
    except GraphError:
        return None


def formulas(candidate: Candidate) -> str:
    """t, n and the scale, a line each."""
    lines = (
        element("dt", name) + element("dd", formula, class_="scrolls", tabindex=0) for name, formula in _rows(candidate)
    )
    return element("dl", *lines, class_="formulas")


def inline_formulas(candidate: Candidate) -> str:
    """The same in one line."""
    spans = (element("span", name, " ", formula) for name, formula in _rows(candidate))
    return element("div", *spans, class_="inline-formulas")


def copyable(candidate: Candidate) -> str:
    """Exact formulas as infix text and as LaTeX, for other programs."""
    return element("dl", *_copyable_rows("t(x)", candidate.target), *_copyable_rows("n(x)", candidate.nontarget))


def _copyable_rows(name: str, graph: Graph) -> list[str]:
    rows = [(f"{name} as text", str(graph)), (f"{name} in LaTeX", to_latex(graph))]
    return [
        element("dt", escaped(label)) + element("dd", element("code", escaped(text), class_="copyable"))
        for label, text in rows
    ]


def _rows(candidate: Candidate) -> list[tuple[str, str]]:
    """Left and right sides of the equations."""
    return [
        (_left_side("<mi>t</mi><mo>(</mo><mi>x</mi><mo>)</mo>"), to_mathml(candidate.target, digits=_DIGITS)),
        (_left_side("<mi>n</mi><mo>(</mo><mi>x</mi><mo>)</mo>"), to_mathml(candidate.nontarget, digits=_DIGITS)),
        (
            _left_side('<msub><mi>log</mi><mn>2</mn></msub><mspace width="0.2em"/><mi>s</mi>'),
            f"<math><mn>{escaped(figure(candidate.log2_scale))}</mn></math>",
        ),
    ]


def _left_side(markup: str) -> str:
    return f'<math><mrow>{markup}<mspace width="0.28em"/><mo form="postfix">=</mo></mrow></math>'
