"""Scores over the evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate

from fastreid_ext.projects.gms.report.axes import Axes, drawing, label, spread
from fastreid_ext.projects.gms.report.markup import element, escaped, score_text
from fastreid_ext.projects.gms.report.summary import score
from fastreid_ext.search.protocols import Trial

__all__ = ["history"]

_MOST_POINTS = 2000
_WIDTH, _HEIGHT = 760.0, 260.0
_LEFT, _TOP, _RIGHT = 58.0, 26.0, 150.0
_LINE = 13.0  # Height of a label.


def history(evaluated: Sequence[Trial], baselines: Mapping[str, float], *, metric: str) -> str:
    """Every score as a point, the best so far as a line, and the scores of losses made by hand across.

    Args:
        evaluated: trials in order; of more than 2,000, evenly spaced ones are drawn as points.
        baselines: scores by name.
        metric: what the score is.
    """
    scores = [score(trial) for trial in evaluated]
    axes = Axes(_LEFT, _TOP, _WIDTH, _HEIGHT, (0.0, len(scores) + 1.0), spread([*scores, *baselines.values()]))
    known = {name: value for name, value in baselines.items() if math.isfinite(value)}
    description = f"{metric} of {len(scores)} evaluated losses in order; the best is {score_text(max(scores))}"
    return drawing(
        _LEFT + _WIDTH + _RIGHT,
        _TOP + _HEIGHT + 44,
        description,
        axes.frame("evaluation", metric, x_ticks=8),
        *_baselines(axes, known),
        *_points(axes, evaluated),
        _running_best(axes, scores),
    )


def _points(axes: Axes, evaluated: Sequence[Trial]) -> list[str]:
    stride = math.ceil(len(evaluated) / _MOST_POINTS)
    return [
        element(
            "circle",
            element("title", escaped(f"trial {trial.number}: {score_text(score(trial))}")),
            cx=f"{axes.x(index):.1f}",
            cy=f"{axes.y(score(trial)):.1f}",
            r=2.6,
            class_="point",
        )
        for index, trial in enumerate(evaluated, start=1)
        if (index - 1) % stride == 0
    ]


def _running_best(axes: Axes, scores: Sequence[float]) -> str:
    steps, highest = f"M{axes.x(1):.1f} {axes.y(scores[0]):.1f}", scores[0]
    for index, best in enumerate(accumulate(scores, max), start=1):
        if best > highest:
            steps += f"H{axes.x(index):.1f}V{axes.y(best):.1f}"
            highest = best
    steps += f"H{axes.left + axes.width:.1f}"
    return element("g", element("title", "best so far"), element("path", d=steps, class_="series searched"))


def _baselines(axes: Axes, baselines: Mapping[str, float]) -> list[str]:
    right, parts, free = axes.left + axes.width, [], math.inf
    # From the bottom up, each label at least a line above the one before.
    places = {name: place for place, name in enumerate(baselines)}
    for name, value in sorted(baselines.items(), key=lambda item: item[1]):
        y = axes.y(value)
        free = min(y, free - _LINE)
        text = f"{name} {score_text(value)}"
        class_ = f"series s{places[name] % 6}"
        line = element("line", x1=axes.left, x2=right, y1=f"{y:.1f}", y2=f"{y:.1f}", class_=class_)
        parts.append(element("g", element("title", escaped(text)), line))
        parts.append(element("path", d=f"M{right:.1f} {y:.1f}L{right + 12:.1f} {free:.1f}", class_="leader"))
        parts.append(label(f"{right + 16:.1f}", f"{free + 4:.1f}", text, "start"))
    return parts
