"""The best losses, a card each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.report.curves import curves, legend
from fastreid_ext.projects.gms.report.formulas import candidate_of, copyable, formulas
from fastreid_ext.projects.gms.report.markup import element, escaped, score_text
from fastreid_ext.search.protocols import Trial

__all__ = ["best_losses"]


def best_losses(trials: Sequence[Trial], handcrafted: Mapping[str, Candidate], *, metric: str) -> str:
    """Rank, scores, formulas and curves of each.

    Args:
        trials: the best, in the order of their ranks.
        handcrafted: losses to draw beside them, by name.
        metric: what the score is.
    """
    cards = (_card(rank, trial, handcrafted, metric) for rank, trial in enumerate(trials, start=1))
    return element("ol", *cards, class_="cards")


def _card(rank: int, trial: Trial, handcrafted: Mapping[str, Candidate], metric: str) -> str:
    candidate = candidate_of(trial)
    name = f"trial {trial.number}"
    head = element(
        "header",
        element("span", str(rank), class_="rank", aria_label=f"rank {rank}"),
        element("span", escaped(score_text(trial.score)), element("small", escaped(metric)), class_="score"),
        element("h3", escaped(name)),
        _figures(trial),
    )
    if candidate is None:
        return element("li", head, element("p", "The file holds no readable loss for this trial."), class_="card")
    figures = curves(candidate, handcrafted, name=name), legend(handcrafted, name=name)
    exact = element("details", element("summary", "Exact text and LaTeX"), copyable(candidate))
    return element("li", head, formulas(candidate), element("figure", *figures), exact, class_="card")


def _figures(trial: Trial) -> str:
    others = (
        element("div", element("dt", escaped(key)), element("dd", escaped(score_text(value))))
        for key, value in trial.scores.items()
    )
    return element("dl", *others, class_="figures")
