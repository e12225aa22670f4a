"""The page as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.report.family import family_tree
from fastreid_ext.projects.gms.report.history import history
from fastreid_ext.projects.gms.report.losses import best_losses
from fastreid_ext.projects.gms.report.markup import element, escaped, figure, score_text
from fastreid_ext.projects.gms.report.predictor import predictor_quality
from fastreid_ext.projects.gms.report.rejections import fates, reasons
from fastreid_ext.projects.gms.report.script import SCRIPT
from fastreid_ext.projects.gms.report.style import STYLE
from fastreid_ext.projects.gms.report.summary import Summary, summarise
from fastreid_ext.projects.gms.report.tables import settings_table
from fastreid_ext.search.protocols import Trial
from fastreid_ext.utils.files import atomic_write

__all__ = ["write_report"]

# Nothing is loaded from anywhere, whatever a candidate's text says.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_report(
    path: str | os.PathLike[str],
    trials: Sequence[Trial],
    *,
    title: str,
    settings: Mapping[str, Any],
    metric: str = "score",
    best: int = 10,
    handcrafted: Mapping[str, Candidate] | None = None,
    baselines: Mapping[str, float] | None = None,
    predictor: Sequence[Mapping[str, Any]] = (),
    predictions: Sequence[tuple[float, float]] = (),
) -> None:
    """Writes a search as one HTML file that needs no network and no other file.

    Its size does not grow with the trials that were rejected.

    Args:
        path: of the file; what was there is replaced when the page is complete.
        trials: all rows of the search's file.
        title: of the page.
        settings: of the search, shown as a table; may be nested.
        metric: name of the score.
        best: how many losses are shown.
        handcrafted: losses whose curves are drawn beside the best, by name, in the order of the legend.
        baselines: scores of losses made by hand, by name.
        predictor: rows of a table of the predictor's quality.
        predictions: predicted and actual scores.
    """
    summary = summarise(trials)
    sections = dict(_sections(summary, trials, metric, best, handcrafted or {}, baselines or {}))
    if predictor or predictions:
        sections["Predictor"] = predictor_quality(predictor, predictions)
    sections["Settings"] = settings_table(settings) if settings else element("p", "None were recorded.")
    with atomic_write(path) as file:
        file.write(_document(title, _header(title, summary, metric), sections))


def _sections(
    summary: Summary,
    trials: Sequence[Trial],
    metric: str,
    best: int,
    handcrafted: Mapping[str, Candidate],
    baselines: Mapping[str, float],
) -> Iterator[tuple[str, str]]:
    winners = summary.best(max(best, 1))
    if winners:
        yield "Best losses", best_losses(winners[:best], handcrafted, metric=metric)
        yield (
            "Scores over time",
            _captioned(
                history(summary.evaluated, baselines, metric=metric),
                "Each point is an evaluated loss, the line the best so far"
                + ("; losses made by hand lie across." if baselines else "."),
            ),
        )
        yield "Family of the winner", family_tree(winners[0], {trial.number: trial for trial in trials})
    else:
        yield "Best losses", element("p", "No loss has been evaluated yet.", class_="empty")
    if summary.states:
        yield "Proposals", _captioned(fates(summary), "What became of the proposals.") + reasons(summary)


def _captioned(picture: str, caption: str) -> str:
    return element("figure", picture, element("figcaption", escaped(caption)))


def _header(title: str, summary: Summary, metric: str) -> str:
    winner = next(iter(summary.best(1)), None)
    best = (score_text(winner.score), f"best {metric}, trial {winner.number}") if winner else ("\N{EN DASH}", "best")
    tiles = [best, (figure(len(summary.evaluated)), "evaluated")]
    tiles += [(figure(summary.states[state]), name) for state, name in _COUNTED]
    if summary.states["waiting"]:
        tiles.append((figure(summary.states["waiting"]), "waiting"))
    tiles += [
        (_duration(summary.elapsed), "from first to last"),
        (_duration(summary.evaluating), "in evaluations, of all workers"),
    ]
    shown = (element("div", element("dt", escaped(name)), element("dd", escaped(value))) for value, name in tiles)
    return element("header", element("h1", escaped(title)), element("dl", *shown, class_="tiles"))


_COUNTED = (("rejected", "rejected"), ("duplicate", "duplicates"), ("failed", "failed"))


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def _document(title: str, header: str, sections: Mapping[str, str]) -> str:
    anchors = {name: name.lower().replace(" ", "-") for name in sections}
    links = (element("a", escaped(name), href=f"#{anchor}") for name, anchor in anchors.items())
    body = (
        element("section", element("h2", escaped(name)), content, id=anchors[name])
        for name, content in sections.items()
    )
    head = (
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", escaped(title)),
        element("style", STYLE),
    )
    main = element("main", header, element("nav", *links, aria_label="Sections"), *body)
    page = element("html", element("head", *head), element("body", main, element("script", SCRIPT)), lang="en")
    return f"<!DOCTYPE html>\n{page}\n"
