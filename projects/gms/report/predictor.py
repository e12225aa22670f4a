"""How well the predictor knew the scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastreid_ext.projects.gms.report.axes import Axes, drawing, spread
from fastreid_ext.projects.gms.report.markup import element, escaped, score_text
from fastreid_ext.projects.gms.report.tables import table

__all__ = ["predictor_quality"]

_MOST_POINTS = 2000
_SIDE = 300.0


def predictor_quality(rows: Sequence[Mapping[str, Any]], predictions: Sequence[tuple[float, float]]) -> str:
    """A table of figures, and a picture of predicted against actual scores.

    Args:
        rows: of the table.
        predictions: predicted and actual scores of losses new to the predictor; of more than 2,000, the last.
    """
    parts = []
    if rows:
        parts.append(table(rows, "Predicted against actual scores of losses not seen in training"))
    points = [pair for pair in predictions[-_MOST_POINTS:] if all(map(math.isfinite, pair))]
    if points:
        parts.append(element("figure", _scatter(points)))
    return element("div", *parts, class_="side-by-side")


def _scatter(points: Sequence[tuple[float, float]]) -> str:
    x_range, y_range = spread(x for x, _ in points), spread(y for _, y in points)
    axes = Axes(58, 26, _SIDE, _SIDE, x_range, y_range)
    ends = [min(x_range[0], y_range[0]), max(x_range[1], y_range[1])]
    diagonal = element("g", axes.path(ends, ends, class_="diagonal"), clip_path="url(#clip-predictions)")
    circles = (
        element(
            "circle",
            element("title", escaped(f"predicted {score_text(x)}, actual {score_text(y)}")),
            cx=f"{axes.x(x):.1f}",
            cy=f"{axes.y(y):.1f}",
            r=3,
            class_="point",
        )
        for x, y in points
    )
    description = f"Predicted against actual scores of {len(points)} losses; the dashed line is where they are equal"
    frame = axes.frame("predicted", "actual")
    return drawing(
        58 + _SIDE + 16, 26 + _SIDE + 44, description, axes.clip("clip-predictions"), frame, diagonal, *circles
    )
