"""The picture of a sweep: a figure over the values of one label, a line for each combination of the others."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.sweep.cells import Cell, all_seeds, cell_of, datasets_of
from fastreid_ext.engine.sweep.labels import (
    combination,
    find_label,
    label_names,
    refuse_unknown,
    short_names,
    varying,
)
from fastreid_ext.engine.sweep.results import SettingResult
from fastreid_ext.utils.env import require
from fastreid_ext.utils.files import atomic_write

__all__ = ["plot_results"]

# Okabe and Ito's colours, which colour-blind people tell apart, without the yellow, which is faint on white. The
# numbers of colours, markers and dashes have no common divisor, so that no two of 280 lines are drawn alike.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = (("o", 6), ("s", 6), ("^", 7), ("D", 6), ("v", 7), ("P", 8), ("X", 8), ("p", 7.5))
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1.5)))
_GREY = "#555555"
_FORMATS = (".png", ".svg")
# In inches; the last is a line of the legend.
_WIDTH, _HEIGHT, _ROW_HEIGHT = 7.0, 4.2, 0.2
# From one line's error bars to the next one's, in points; all lines together take no more than that part of the way
# to the next value.
_DODGE, _DODGE_PART = 3.0, 0.25
# Names longer than this stand in a legend below the picture, not beside it; so many characters go into its width.
_LONG_NAME, _CHARACTERS, _TITLE_WIDTH = 24, 88, 62


@dataclass(frozen=True)
class _Line:
    name: str
    cells: list[Cell]
    style: dict[str, Any]

    def right_end(self) -> float:
        """The height at which it ends."""
        return [cell.mean for cell in self.cells if cell.values][-1]


def plot_results(
    results: Sequence[SettingResult], *, metric: str, columns: str, path: str | Path, dataset: str = ""
) -> None:
    """Draws a figure over the values of one label into a PNG or SVG file, as the file's name says.

    Every combination of the other labels is a line through the means over seeds; error bars are the sample standard
    deviation. A hollow marker stands for a mean of fewer seeds than planned. Numbers have a logarithmic axis if each
    is at least double the one before; other values are evenly spaced in the order of the sweep. The same results
    make the same file.

    Args:
        results: of the settings.
        metric: such as mAP, in percent.
        columns: the label of the x axis, by its full or its short name.
        path: of the file; the folder is made.
        dataset: the test set; the first one if it is empty.

    Raises:
        ConfigError: there is no such label, metric or test set, no run has ended, or the file is of another kind.
        ImportError: matplotlib is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise ConfigError(f"{path}: a plot's file name ends in {' or '.join(_FORMATS)}")
    columns = find_label(results, columns)
    datasets = datasets_of(results, [metric])
    refuse_unknown("test set", dataset or datasets[0], datasets)
    values = _values(results, columns)
    others = [name for name in varying(results) if name != columns]
    lines = _lines(results, (dataset or datasets[0], metric), (others, columns), values)
    if not lines:
        raise ConfigError(f"nothing to draw into {path}: no run of the sweep has a {metric} yet")

    figures = require("matplotlib.figure", "viz", "the plot of a sweep")
    figure = figures.Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    _draw_lines(figure, axes, lines, _scale_x(axes, values))
    short = short_names(label_names(results))
    axes.set_xlabel(_plain(short[columns]))
    axes.set_ylabel(_plain(f"{metric} (%)"))
    axes.set_title(_plain(_title(results, lines, dataset or datasets[0])), loc="left", fontsize=9, color=_GREY)
    if others:
        _add_legend(figure, axes, lines, ", ".join(short[name] for name in others))
    _save(figure, path)


def _values(results: Sequence[SettingResult], columns: str) -> list[str]:
    """The label's values: numbers by size, others in the order of the sweep."""
    values = list(dict.fromkeys(combination(result, [columns])[0] for result in results))
    numbers = _numbers(values)
    return [value for _, value in sorted(zip(numbers, values, strict=True))] if numbers else values


def _numbers(values: Sequence[str]) -> list[float] | None:
    try:
        numbers = [float(value) for value in values]
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None


def _lines(
    results: Sequence[SettingResult], figure: tuple[str, str], names: tuple[list[str], str], values: list[str]
) -> list[_Line]:
    """The lines that have anything to show, each with a cell a value; the style goes by the order in the sweep."""
    others, columns = names
    cells = {
        (combination(result, others), combination(result, [columns])[0]): cell_of(result, *figure) for result in results
    }
    lines = []
    for place, row in enumerate(dict.fromkeys(row for row, _ in cells)):
        style = {
            "color": _COLOURS[place % len(_COLOURS)],
            "marker": _MARKERS[place % len(_MARKERS)][0],
            "markersize": _MARKERS[place % len(_MARKERS)][1],
            "linestyle": _DASHES[place % len(_DASHES)],
        }
        line = _Line(", ".join(row), [cells.get((row, value)) or Cell((), 0) for value in values], style)
        if any(cell.values for cell in line.cells):
            lines.append(line)
    return lines


def _scale_x(axes: Any, values: Sequence[str]) -> list[float]:
    """Where the values stand on the axis, which gets its scale and its ticks."""
    numbers = _numbers(values)
    places = numbers or [float(place) for place in range(len(values))]
    pairs = list(itertools.pairwise(places))
    if numbers and places[0] > 0 and pairs and all(following >= 2 * number for number, following in pairs):
        axes.set_xscale("log", base=2)
    elif numbers and any(following - number < (places[-1] - places[0]) / 15 for number, following in pairs):
        # Ticks at values as near as that would overlap.
        return places
    long = sum(map(len, values)) > _CHARACTERS / 2
    tilt = {"rotation": 25, "ha": "right", "rotation_mode": "anchor"} if long and not numbers else {}
    axes.set_xticks(places, [_plain(value) for value in values], **tilt)
    axes.set_xticks([], minor=True)
    return places


def _draw_lines(figure: Any, axes: Any, lines: Sequence[_Line], places: Sequence[float]) -> None:
    transforms = require("matplotlib.transforms", "viz", "the plot of a sweep")
    step = _dodge(axes, places, len(lines))
    for number, line in enumerate(lines):
        shift = (number - (len(lines) - 1) / 2) * step / 72
        moved = axes.transData + transforms.ScaledTranslation(shift, 0, figure.dpi_scale_trans)
        bars = {"elinewidth": 1, "capsize": 2.5, "capthick": 1, "markeredgecolor": "white", "markeredgewidth": 0.6}
        means, spreads = [cell.mean for cell in line.cells], [cell.spread for cell in line.cells]
        axes.errorbar(places, means, spreads, **line.style, **bars, linewidth=1.5, transform=moved, zorder=3)
        hollow = [math.nan if cell.complete else cell.mean for cell in line.cells]
        axes.plot(places, hollow, **{**line.style, "linestyle": ""}, mfc="white", transform=moved, zorder=4)
        # What is moved aside does not count for the limits of the axes.
        for place, cell in zip(places, line.cells, strict=True):
            reach = cell.spread if len(cell.values) > 1 else 0.0
            axes.update_datalim([(place, cell.mean - reach), (place, cell.mean + reach)])
    axes.margins(x=0.06, y=0.06)
    axes.autoscale_view()
    axes.grid(axis="y", color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _dodge(axes: Any, places: Sequence[float], lines: int) -> float:
    """How far, in points, neighbouring lines are moved apart, so that nobody takes it for another value."""
    marks = [math.log2(place) for place in places] if axes.get_xscale() == "log" else places
    gap = min((following - mark for mark, following in itertools.pairwise(marks)), default=1.0)
    way = 72 * _WIDTH * gap / ((marks[-1] - marks[0]) or 1.0)
    return min(_DODGE, _DODGE_PART * way / lines)


def _title(results: Sequence[SettingResult], lines: Sequence[_Line], dataset: str) -> str:
    """The test set, and what the marks mean."""
    seeds = sorted({len(all_seeds(result)) for result in results})
    over = f"{seeds[0]} to {seeds[-1]}" if len(seeds) > 1 else f"{seeds[0]}"
    parts = [f"mean ± sample standard deviation, {over} seeds" if seeds[-1] > 1 else "one seed"]
    if any(cell.values and not cell.complete for line in lines for cell in line.cells):
        parts.append("hollow: not all seeds")
    # A test set's options are one word, however many they are.
    named = f"{dataset.replace(',', ', ')}: {parts[0]}" if dataset else parts[0]
    return textwrap.fill("; ".join([named, *parts[1:]]), _TITLE_WIDTH)


def _add_legend(figure: Any, axes: Any, lines: Sequence[_Line], title: str) -> None:
    """Beside the picture in the order in which the lines end, or below it if names are long."""
    drawn = zip(lines, axes.containers, strict=True)
    ordered = sorted(drawn, key=lambda pair: pair[0].right_end(), reverse=True)
    handles, names = [bars[0] for _, bars in ordered], [_plain(line.name) for line, _ in ordered]
    style = {"title": _plain(title), "fontsize": 9, "title_fontsize": 9, "frameon": False, "handlelength": 3.2}
    longest = max(len(line.name) for line in lines)
    if longest <= _LONG_NAME:
        figure.set_figheight(max(_HEIGHT, _ROW_HEIGHT * (len(lines) + 2)))
        figure.legend(handles, names, loc="outside right upper", alignment="left", **style)
        return
    columns = max(1, min(len(lines), _CHARACTERS // (longest + 6)))
    figure.set_figheight(_HEIGHT + _ROW_HEIGHT * (-(-len(lines) // columns) + 1))
    figure.legend(handles, names, loc="outside lower center", ncols=columns, **style)


def _plain(text: str) -> str:
    """Text in which matplotlib sees no formula."""
    return text.replace("$", r"\$")


def _save(figure: Any, path: Path) -> None:
    """Writes the file without a date and without random names in it."""
    matplotlib = require("matplotlib", "viz", "the plot of a sweep")
    form = path.suffix.lower()[1:]
    with matplotlib.rc_context({"svg.hashsalt": "fastreid_ext"}), atomic_write(path, "wb") as file:
        figure.savefig(file, format=form, dpi=200, metadata={"Date": None} if form == "svg" else None)
