"""Rows and figures of what is measured of evaluation, and how times grow with the number of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastreid_ext.engine.benchmarks.evaluation_data import size_of
from fastreid_ext.engine.benchmarks.own_process import Measured, Trial, Work, measure_alone
from fastreid_ext.engine.benchmarks.registry import Options, Report

__all__ = ["GROWTH", "add_growth", "add_trial", "fits"]

GROWTH = (2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
# At 2048 dimensions the largest of them would take as long as everything else together.
_GROWTH_DIM = 512
# Milliseconds are easily disturbed, and cheap to measure again.
_REPEATED_TO = 10_000


def fits(images: int, options: Options) -> bool:
    """Whether sets of so many images are to be measured."""
    return options.largest is None or images <= options.largest


def add_trial(report: Report, trial: Trial, options: Options, benchmark: str, figures: Sequence[str]) -> None:
    """Measures; adds a row for each work, and figures of the one that is not the classic way.

    Args:
        report: takes them.
        trial: is left out if its set is too large for the options.
        options: how.
        benchmark: first part of the figures' names.
        figures: attributes of `Measured`; what was not measured is left out.
    """
    if not fits(trial.size.images, options):
        return
    measured = measure_alone(trial, options.device)
    report.rows += [_row(each) for each in measured]
    for name in figures:
        value = getattr(measured[0], name)
        if value is not None:
            report.figures[f"{benchmark}.{name}_{trial.size.key}"] = value


def add_growth(report: Report, works: Mapping[str, Work], options: Options) -> None:
    """Adds rows of growing sets, and the exponents of N with which time grows: over all of them, and the upper half.

    Args:
        report: takes them.
        works: by the names of their figures.
        options: how.
    """
    numbers = [images for images in GROWTH if fits(images, options)]
    columns: list[list[Measured]] = []
    for images in numbers:
        rounds = options.repeats if images <= _REPEATED_TO else 0
        trial = Trial(size_of(images, _GROWTH_DIM), tuple(works.values()), rounds=rounds)
        columns.append(measure_alone(trial, options.device))
    for figure, measured in zip(works, zip(*columns, strict=True), strict=False):
        rows = [_row(each) for each in measured]
        report.rows += rows
        for suffix, first in (("", 0), ("_upper", len(numbers) // 2)):
            if len(numbers) - first < 2:
                continue
            exponent = _slope(numbers[first:], [each.seconds for each in measured[first:]])
            report.figures[figure + suffix] = exponent
            size = f"N = {numbers[first]:,} to {numbers[-1]:,}"
            fitted = {"size": size, "what": works[figure].name, "exponent of N": exponent}
            report.rows.append(dict.fromkeys(rows[0]) | fitted)


def _row(measured: Measured) -> dict[str, Any]:
    return {
        "size": str(measured.size),
        "what": measured.work.name,
        "s": measured.seconds,
        "product s": measured.product,
        "over product": measured.over_product,
        "memory MB": measured.memory_mb,
        "classic over it": measured.speedup,
        "mAP": None if measured.mAP is None else 100 * measured.mAP,
        "exponent of N": None,
    }


def _slope(numbers: Sequence[int], seconds: Sequence[float]) -> float:
    """Of the line through them in logarithms, by least squares."""
    slope, _ = np.polyfit(np.log(numbers), np.log(seconds), 1)
    return float(slope)
