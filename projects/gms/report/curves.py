"""The functions t and n of a loss beside those made by hand, as in Figure 4 of the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.compile import compiled_function
from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.report.axes import Axes, drawing, label, spread
from fastreid_ext.projects.gms.report.markup import element, escaped

__all__ = ["curve", "curves", "legend"]

_POINTS = 129
# Of the candidate, the highest and lowest twentieth may be cut off, and all that is farther from 0 than this: a steep
# function must not flatten the others.
_TALLEST = 12.0
_LEFT, _TOP, _WIDTH, _HEIGHT = 46.0, 24.0, 430.0, 210.0
_SEARCHED = "series searched"


def curve(graph: Graph) -> tuple[list[float], list[float]]:
    """Equally spaced cosines in [-1, 1], and the function's values there in double precision."""
    x = torch.linspace(-1, 1, _POINTS, dtype=torch.float64)
    with torch.no_grad():
        return x.tolist(), compiled_function(graph)(x).tolist()


def curves(candidate: Candidate, handcrafted: Mapping[str, Candidate], *, name: str) -> str:
    """Two panels, t and n: the candidate's functions over those of the others.

    Args:
        candidate: whose functions are drawn thick.
        handcrafted: the others, by name.
        name: of the candidate; it also tells the picture's clip paths from those of other pictures.
    """
    targets = [(name, candidate.target), *((key, loss.target) for key, loss in handcrafted.items())]
    nontargets = [(name, candidate.nontarget), *((key, loss.nontarget) for key, loss in handcrafted.items())]
    return element("div", _panel("t(x)", targets), _panel("n(x)", nontargets), class_="panels")


def legend(handcrafted: Mapping[str, Candidate], *, name: str) -> str:
    """What the lines of `curves` mean."""
    classes = [_SEARCHED, *(_series(place) for place in range(len(handcrafted)))]
    items = (
        element("li", _swatch(class_), escaped(text))
        for class_, text in zip(classes, [name, *handcrafted], strict=True)
    )
    return element("ul", *items, class_="legend")


def _panel(title: str, shown: Sequence[tuple[str, Graph]]) -> str:
    """The first of the functions drawn thick, the others below it."""
    lines = [(key, *curve(graph)) for key, graph in shown]
    values = [*_middle(lines[0][2]), *(y for _, _, ys in lines[1:] for y in ys)]
    y_range = spread(min(max(y, -_TALLEST), _TALLEST) for y in values)
    axes = Axes(_LEFT, _TOP, _WIDTH, _HEIGHT, (-1.0, 1.0), y_range)
    clip = "clip-" + "".join(letter if letter.isalnum() else "-" for letter in f"{shown[0][0]} {title}")
    classes = [_SEARCHED, *(_series(place) for place in range(len(lines) - 1))]
    paths = [
        element("g", element("title", escaped(f"{title} of {key}")), axes.path(xs, ys, class_=class_))
        for class_, (key, xs, ys) in reversed(list(zip(classes, lines, strict=True)))
    ]
    group = element("g", *paths, clip_path=f"url(#{clip})")
    heading = label(_LEFT, _TOP - 10, title, "start", "panel-title")
    description = f"{title} for x from -1 to 1: {', '.join(key for key, _ in shown)}"
    size = _LEFT + _WIDTH + 12, _TOP + _HEIGHT + 40
    return drawing(*size, description, axes.clip(clip), axes.frame("x = cos θ", ""), heading, group)


def _middle(values: Sequence[float]) -> list[float]:
    finite = sorted(value for value in values if math.isfinite(value))
    outside = len(finite) // 20
    return finite[outside : len(finite) - outside]


def _series(place: int) -> str:
    return f"series s{place % 6}"


def _swatch(class_: str) -> str:
    line = element("line", x1=1, x2=27, y1=5, y2=5, class_=class_)
    return element("svg", line, viewBox="0 0 28 10", width=28, height=10, aria_hidden="true")
