"""The table of a sweep: mean ± spread over seeds of each setting, as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tabulate import tabulate

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.sweep.cells import Cell, all_seeds, cell_of, datasets_of, figure_names, not_finite
from fastreid_ext.engine.sweep.labels import combination, describe, find_label, label_names, short_names, varying
from fastreid_ext.engine.sweep.results import SettingResult

__all__ = ["ResultTable", "runs_csv"]

_REASON_WIDTH = 300


@dataclass(frozen=True)
class _Grid:
    """Labels and figures as they stand in rows and columns; None is a cell that there is not."""

    heading: str
    label_headers: list[str]
    figure_headers: list[str]
    rows: list[tuple[tuple[str, ...], list[Cell | None]]]

    def best(self) -> list[float | None]:
        """The largest printed mean of each column; None where there are no two figures to choose from.

        Means of fewer seeds than others of the column do not compete: they would win by chance.
        """
        best = []
        for column in zip(*(cells for _, cells in self.rows), strict=True):
            means = [cell.printed_mean for cell in self._competing(column)]
            best.append(max(means) if len(means) > 1 else None)
        return best

    @staticmethod
    def _competing(column: Sequence[Cell | None]) -> list[Cell]:
        most = max((len(cell.values) for cell in column if cell), default=0)
        return [cell for cell in column if cell and cell.values and len(cell.values) == most]

    def marked(self, mark: Callable[[str], str], escape: Callable[[str], str] = str) -> list[list[str]]:
        """The rows as texts: escaped labels, and figures with the best ones marked."""
        texts = []
        columns = [self._competing(column) for column in zip(*(cells for _, cells in self.rows), strict=True)]
        for labels, cells in self.rows:
            figures = ["" if cell is None else str(cell) for cell in cells]
            for place, (cell, top) in enumerate(zip(cells, self.best(), strict=True)):
                if cell in columns[place] and cell and cell.printed_mean == top:
                    figures[place] = mark(figures[place])
            texts.append([*map(escape, labels), *figures])
        return texts


@dataclass(frozen=True)
class ResultTable:
    """Mean ± sample standard deviation over the seeds of every setting, the best of each column marked.

    Figures are in percent, and more is better. Cells whose means print alike are alike: all of them are marked. A
    seed whose figure is not finite is left out of the mean; the cell says how many of the seeds it stands for, and
    a list below the table names those that failed or are left out.

    Attributes:
        results: of the settings, in the order of the sweep.
        metrics: to be shown, such as mAP.
        columns: a label, by its full or short name, each of whose values becomes a column; every figure then has a
            table of its own.
        order: names of the figures that the results are sorted by, best first; "" if they are not.
    """

    results: Sequence[SettingResult]
    metrics: Sequence[str] = ("mAP", "Rank-1")
    columns: str = ""
    order: str = ""

    def __post_init__(self) -> None:
        """Checks that the table can be made.

        Raises:
            ConfigError: a label or a metric is unknown, or two settings have the same labels.
        """
        if self.columns:
            object.__setattr__(self, "columns", find_label(self.results, self.columns))
        datasets_of(self.results, self.metrics)
        names = label_names(self.results)
        seen = set()
        for result in self.results:
            labels = combination(result, names)
            if labels in seen:
                setting = ", ".join(f"{name} {value}" for name, value in zip(names, labels, strict=True))
                raise ConfigError(f"two settings of the sweep have the same labels: {setting}")
            seen.add(labels)

    def text(self) -> str:
        """For terminals and text files; the best cells start with a star."""
        blocks = ["\n".join(self._constants())]
        for grid in self._grids():
            headers = [*grid.label_headers, *grid.figure_headers]
            align = ["left"] * len(grid.label_headers) + ["right"] * len(grid.figure_headers)
            rows = grid.marked("*{}".format)
            # The alignment of a table without rows is an error to tabulate.
            table = tabulate(rows, headers, disable_numparse=True, colalign=align if rows else None)
            blocks.append(f"{grid.heading}\n\n{table}" if grid.heading else table)
        blocks.append(self._caption("marked *"))
        left_out = list(self._left_out())
        blocks.append("\n".join(["Seeds left out:", *(f"  {line}" for line in left_out)]) if left_out else "")
        return "\n\n".join(block for block in blocks if block) + "\n"

    def markdown(self) -> str:
        """For documents; the best cells are bold."""
        blocks = ["\n".join(f"- {_escaped(line)}" for line in self._constants())]
        for grid in self._grids():
            headers = [_escaped(header) for header in (*grid.label_headers, *grid.figure_headers)]
            rules = ["---"] * len(grid.label_headers) + ["---:"] * len(grid.figure_headers)
            rows = grid.marked("**{}**".format, _escaped)
            blocks.append(f"### {_escaped(grid.heading)}" if grid.heading else "")
            blocks.append("\n".join(f"| {' | '.join(row)} |" for row in (headers, rules, *rows)))
        blocks.append(_escaped(self._caption("in bold")))
        left_out = list(self._left_out())
        blocks.append("Seeds left out:" if left_out else "")
        blocks.append("\n".join(f"- {_escaped(line)}" for line in left_out))
        return "\n\n".join(block for block in blocks if block) + "\n"

    def csv(self) -> str:
        """For programs: one line a setting, test set and metric, unrounded, whatever `columns` is."""
        names = label_names(self.results)
        rows: list[list[object]] = [[*names, "dataset", "metric", "mean", "spread", "seeds", "planned"]]
        for result in self.results:
            labels = [result.labels.get(name, "") for name in names]
            for dataset, metric in self._figures():
                if cell := cell_of(result, dataset, metric):
                    mean = cell.mean if cell.values else ""
                    spread = cell.spread if len(cell.values) > 1 else ""
                    rows.append([*labels, dataset, metric, mean, spread, len(cell.values), cell.planned])
        return _csv(rows)

    def _figures(self) -> list[tuple[str, str]]:
        datasets = datasets_of(self.results, self.metrics)
        return [(dataset, metric) for dataset in datasets for metric in self.metrics]

    def _grids(self) -> Iterator[_Grid]:
        """One grid with a column a figure, or one a figure with a column a value."""
        short = short_names(label_names(self.results))
        names = [name for name in varying(self.results) if name != self.columns]
        headers = [short[name] for name in names]
        figures = self._figures()
        several = len({dataset for dataset, _ in figures}) > 1
        titles = [f"{dataset} {metric}" if several else metric for dataset, metric in figures]
        if not self.columns:
            rows = [(combination(result, names), [cell_of(result, *key) for key in figures]) for result in self.results]
            yield _Grid("", headers, titles, rows)
            return
        places = {(combination(r, names), combination(r, [self.columns])): r for r in self.results}
        columns = list(dict.fromkeys(column for _, column in places))
        for (dataset, metric), title in zip(figures, titles, strict=True):
            cells = {place: cell_of(result, dataset, metric) for place, result in places.items()}
            labels = dict.fromkeys(row for row, _ in places)
            rows = [(row, [cells.get((row, column)) for column in columns]) for row in labels]
            yield _Grid(f"{title} by {short[self.columns]}", headers, [column for (column,) in columns], rows)

    def _constants(self) -> list[str]:
        """The labels that are equal in all settings."""
        apart = {*varying(self.results), self.columns}
        names = [name for name in label_names(self.results) if name not in apart]
        return [f"{name} {value}" for name in names for value in combination(self.results[0], [name])]

    def _caption(self, how: str) -> str:
        counts = sorted({len(all_seeds(result)) for result in self.results})
        if not counts or not counts[-1]:
            return ""
        many = f"{counts[-1]} seeds" if len(counts) == 1 else f"the seeds of each setting ({counts[0]} to {counts[-1]})"
        what = f"Mean ± sample standard deviation over {many}" if counts[-1] > 1 else "One seed"
        grids = list(self._grids())
        fewer = any(cell and cell.values and not cell.complete for g in grids for _, cells in g.rows for cell in cells)
        marked = any(top is not None for grid in grids for top in grid.best())
        best = f"; best of each column{' among those of most seeds' if fewer else ''} {how}" if marked else ""
        best += f"; rows best first by {self.order}" if self.order else ""
        return f"{what}{best}{'; in brackets: seeds that have a figure' if fewer else ''}."

    def _left_out(self) -> Iterator[str]:
        """The setting, the seed, and why."""
        names = varying(self.results)
        short = short_names(label_names(self.results))
        for result in self.results:
            failed = [(seed, reason) for seed, reason in result.failures.items() if seed not in result.figures]
            for seed, reason in (*failed, *not_finite(result, self.metrics)):
                setting = f"{describe(result, names, short)}, " if names else ""
                yield f"{setting}seed {seed}: {textwrap.shorten(reason, _REASON_WIDTH, placeholder=' ...')}"


def runs_csv(results: Sequence[SettingResult]) -> str:
    """One line a run, for statistics of one's own: labels, seed, state, all figures, and why it failed.

    The state is finished, failed or waiting; figures are unrounded, and empty where a run has none.
    """
    names, figures = label_names(results), figure_names(results)
    rows: list[list[object]] = [[*names, "seed", "state", *figures, "reason"]]
    for result in results:
        for seed in all_seeds(result):
            run = result.figures.get(seed)
            state = "finished" if run is not None else "failed" if seed in result.failures else "waiting"
            reason = result.failures[seed] if state == "failed" else ""
            values = [(run or {}).get(name, "") for name in figures]
            rows.append([*(result.labels.get(name, "") for name in names), seed, state, *values, reason])
    return _csv(rows)


def _csv(rows: Sequence[Sequence[object]]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def _escaped(text: str) -> str:
    """Text that Markdown leaves as it is; underscores inside of words mean nothing to it."""
    return re.sub(r"[\\`*<|\[\]]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", text)
