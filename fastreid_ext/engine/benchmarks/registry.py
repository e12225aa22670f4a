"""What a benchmark is, and the registry of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from fastreid_ext.index import Kind
from fastreid_ext.registry import Registry

__all__ = ["BENCHMARKS", "Options", "Report"]

BENCHMARKS = Registry("benchmark")
"""Functions called as `benchmark(options)` that return a `Report`."""


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        device: "cpu" or "cuda".
        repeats: timed runs of each thing; medians are reported.
        batch_size: images.
        size: height and width in pixels.
        largest: most images of a test set, queries and gallery; larger ones are left out.
        vectors: in a gallery.
        kinds: of its index; all if empty.
    """

    device: str = "cpu"
    repeats: int = 3
    batch_size: int = 64
    size: tuple[int, int] = (256, 128)
    largest: int | None = None
    vectors: int = 100_000
    kinds: Sequence[Kind] = ()


@dataclass
class Report:
    """What was measured.

    Attributes:
        rows: a dict a line of the table, with the same keys.
        figures: single numbers by name, to follow over time.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
