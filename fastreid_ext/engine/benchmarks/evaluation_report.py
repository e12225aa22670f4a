"""Rows and figures of what was measured of evaluation, and how it grows with the number of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastreid_ext.engine.benchmarks.evaluation_data import size_of
from fastreid_ext.engine.benchmarks.own_process import Measured, Trial, Work, measure
from fastreid_ext.engine.benchmarks.registry import Options, Report

__all__ = ["add_growth", "add_measured", "fits"]

GROWTH_IMAGES = (2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
# A sweep at 2048 dimensions would take most of an hour of two cores.
_GROWTH_DIM = 512


def fits(images: int, options: Options) -> bool:
    """Whether a set of so many images is to be measured."""
    return options.largest is None or images <= options.largest


def add_measured(
    report: Report, benchmark: str, measured: Sequence[Measured], *, of: Work | None = None, classic: Work | None = None
) -> None:
    """Adds a row each, and the figures of one of them, which is compared with the classic way if that is there.

    Args:
        report: takes them.
        benchmark: first part of the figures' names.
        measured: on one set.
        of: whose figures to add.
        classic: the classic way to do `of`.
    """
    by_work = {each.work: each for each in measured}
    plain = by_work.get(classic) if classic else None
    for each in measured:
        ratio = plain.all_queries / each.seconds if plain and each.work in (of, classic) else None
        if each is plain:
            ratio = 1.0
        report.rows.append(_row(each, ratio))
    if of is None:
        return
    ours = by_work[of]
    figures = {
        "over_product": ours.over_product,
        "memory_mb": ours.peak_mb,
        "speedup": plain.all_queries / ours.all_queries if plain else None,
    }
    report.figures |= {
        f"{benchmark}.{name}_{ours.size.key}": value for name, value in figures.items() if value is not None
    }


def add_growth(report: Report, works: Mapping[str, Work], options: Options) -> None:
    """Adds rows of growing sets, and the exponents of N by which the time of each work grows as figures.

    Args:
        report: takes them.
        works: by the names of their figures.
        options: with the largest set.
    """
    numbers = [images for images in GROWTH_IMAGES if fits(images, options)]
    sizes = [size_of(images, _GROWTH_DIM) for images in numbers]
    # A few more rounds where they cost nothing: milliseconds are easily disturbed.
    rounds = [options.repeats if images <= 10_000 else 0 for images in numbers]
    for figure, work in works.items():
        trials = [Trial(size, (work,), rounds=some) for size, some in zip(sizes, rounds, strict=True)]
        measured = [measure(trial, options.device)[0] for trial in trials]
        report.rows += [_row(each) for each in measured]
        for name, part in {"": slice(None), "_upper": slice(len(numbers) // 2, None)}.items():
            if len(numbers[part]) > 1:
                exponent = _exponent(numbers[part], [each.seconds for each in measured[part]])
                report.figures[f"{figure}{name}"] = exponent
                between = f"N = {numbers[part][0]:,} to {numbers[part][-1]:,}"
                report.rows.append({**_row(measured[-1]), **dict.fromkeys(_MEASURES), "size": between, "exponent": exponent})


_MEASURES = ("s", "product s", "over product", "memory MB", "times as fast as classic", "mAP")


def _row(measured: Measured, ratio: float | None = None) -> dict[str, Any]:
    found = None if measured.mAP is None else 100 * measured.mAP
    values = (
        measured.seconds,
        measured.product,
        measured.over_product,
        measured.peak_mb,
        ratio,
        found,
    )
    row = dict(zip(_MEASURES, values, strict=True))
    return {"size": str(measured.size), "what": measured.work.name, **row, "exponent": None}


def _exponent(numbers: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of the line through them in logarithms, by least squares."""
    slope, _ = np.polyfit(np.log(numbers), np.log(seconds), 1)
    return float(slope)
