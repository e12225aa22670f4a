"""One figure of one setting over its seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fastreid_ext.engine.sweep.labels import refuse_unknown
from fastreid_ext.engine.sweep.results import SettingResult

__all__ = ["Cell", "all_seeds", "cell_of", "datasets_of", "figure_names", "not_finite"]


@dataclass(frozen=True)
class Cell:
    """What the seeds of a setting came to.

    Attributes:
        values: of the seeds that have a finite figure.
        planned: how many seeds there are to be.
        empty: what stands for the cell as long as it has no values.
    """

    values: tuple[float, ...]
    planned: int
    empty: str = "-"

    @property
    def mean(self) -> float:
        """NaN without values."""
        return statistics.fmean(self.values) if self.values else math.nan

    @property
    def spread(self) -> float:
        """The sample standard deviation (divisor: seeds - 1); NaN with fewer than two values."""
        return statistics.stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def printed_mean(self) -> float:
        """The mean as far as it is printed, by which cells are compared: what prints alike is alike."""
        return float(f"{self.mean:.1f}")

    @property
    def complete(self) -> bool:
        return len(self.values) == self.planned

    def __str__(self) -> str:
        if not self.values:
            return self.empty
        spread = f" ± {self.spread:.1f}" if len(self.values) > 1 else ""
        missing = "" if self.complete else f" ({len(self.values)} of {self.planned})"
        return f"{self.mean:.1f}{spread}{missing}"


def all_seeds(result: SettingResult) -> list[int]:
    """The planned seeds and any others that something is known of."""
    return list(dict.fromkeys((*result.seeds, *result.figures, *result.failures)))


def cell_of(result: SettingResult, dataset: str, metric: str) -> Cell | None:
    """The cell of a setting, or None if its runs measure no such figure."""
    name = f"{dataset}/{metric}" if dataset else metric
    figures = [float(run[name]) for run in result.figures.values() if name in run]
    if result.figures and not figures:
        return None
    seeds = all_seeds(result)
    values = tuple(value for value in figures if math.isfinite(value))
    empty = "nan" if figures else "failed" if seeds and set(seeds) == set(result.failures) else "-"
    return Cell(values, len(seeds), empty)


def not_finite(result: SettingResult, metrics: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Seeds and names of the figures that are no numbers to take a mean of."""
    for seed, run in result.figures.items():
        for name, value in run.items():
            if name.rpartition("/")[2] in metrics and not math.isfinite(value):
                yield seed, f"{name} is {value}"


def figure_names(results: Sequence[SettingResult]) -> list[str]:
    """Names of all figures of all runs, in the order in which they come."""
    return list(dict.fromkeys(name for result in results for run in result.figures.values() for name in run))


def datasets_of(results: Sequence[SettingResult], metrics: Sequence[str]) -> list[str]:
    """The test sets that any of these metrics is measured on; one without a name as long as nothing is measured.

    Raises:
        ConfigError: no run measures one of the metrics, though some have ended.
    """
    # A test set's name may hold slashes, a metric's does not.
    pairs = [name.rpartition("/")[::2] for name in figure_names(results)]
    if not pairs:
        return [""]
    for metric in metrics:
        refuse_unknown("metric", metric, list(dict.fromkeys(known for _, known in pairs)))
    return list(dict.fromkeys(dataset for dataset, known in pairs if known in metrics))
