"""Settings drawn at random instead of every combination of values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fastreid_ext.config import ConfigError

__all__ = ["Distribution", "draw_choices", "find_distribution", "refuse_distributions"]

_FORM = re.compile(r"(log|uniform|integer)\((.*)\)", re.DOTALL)
# What is not one of them, but was meant to be.
_LIKE_ONE = re.compile(r"[A-Za-z]+\([^()]*\)")
_DIGITS = 3


@dataclass(frozen=True)
class Distribution:
    """An interval, both ends of which are included, and how numbers are drawn from it.

    Attributes:
        kind: "log" for numbers whose logarithm is uniform, "uniform", or "integer" for whole numbers.
        low, high: ends of the interval.
    """

    kind: str
    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> str:
        """A number as text, rounded to three significant digits unless it is a whole one."""
        if self.kind == "integer":
            return str(rng.integers(int(self.low), int(self.high), endpoint=True))
        if self.kind == "log":
            value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = rng.uniform(self.low, self.high)
        # An end of more digits is not to be rounded out of the interval.
        return f"{min(max(float(f'{value:.{_DIGITS}g}'), self.low), self.high)!r}".removesuffix(".0")


def find_distribution(key: str, values: Sequence[str]) -> Distribution | None:
    """The distribution that stands in place of an axis's values, if one does.

    Args:
        key: of the axis.
        values: as typed: `log(a,b)`, `uniform(a,b)` or `integer(a,b)`, or else values to choose from.

    Raises:
        ConfigError: an interval is none, or there are values beside it.
    """
    forms = [match for value in values if (match := _FORM.fullmatch(value))]
    if not forms:
        return None
    written = f"{key}={','.join(values)}"
    if len(values) > 1:
        raise ConfigError(f"{written}: a distribution is all that an axis has; give it alone, or values alone")
    kind, ends = forms[0][1], forms[0][2].split(",")
    try:
        low, high = map(int if kind == "integer" else float, ends)
    except ValueError as error:
        raise ConfigError(f"{written}: write {kind}(a,b) with two {_numbers(kind)}") from error
    if not (low < high and math.isfinite(high - low) and (kind != "log" or low > 0)):
        raise ConfigError(f"{written}: write the smaller end first, both finite{' and above 0' * (kind == 'log')}")
    if kind == "integer" and max(abs(low), abs(high)) >= 2**63:
        raise ConfigError(f"{written}: integers are smaller than 2^63")
    return Distribution(kind, low, high)


def refuse_distributions(axes: Mapping[str, Sequence[str]]) -> None:
    """Passes axes of plain values.

    Raises:
        ConfigError: every combination was asked for, but an axis is a distribution.
    """
    for key, values in axes.items():
        if find_distribution(key, values):
            raise ConfigError(f"{key}={values[0]} is drawn from: say how many settings with --random N, or list values")


def draw_choices(axes: Mapping[str, Sequence[str]], number: int, seed: int = 0) -> list[dict[str, str]]:
    """Different settings, a value of each axis drawn for each (Bergstra & Bengio 2012, random search).

    What is drawn follows from the axes and the seed; more settings are the same ones and others behind them.

    Args:
        axes: of each key a distribution, or values that are equally likely.
        number: of settings.
        seed: of the draws.

    Raises:
        ConfigError: there is no axis, there are fewer settings than that, or a distribution is none.
    """
    if not axes:
        raise ConfigError("--random has nothing to draw: give KEY=log(a,b), uniform(a,b), integer(a,b) or v1,v2")
    sources = {key: find_distribution(key, values) or _plain(key, values) for key, values in axes.items()}
    rng = np.random.default_rng(seed)
    drawn: dict[tuple[str, ...], None] = {}
    in_vain = 0
    while len(drawn) < number:
        before = len(drawn)
        drawn[tuple(_one_of(source, rng) for source in sources.values())] = None
        in_vain = 0 if len(drawn) > before else in_vain + 1
        # So long a wait for one that is left among as many would have a chance below e^-100.
        if in_vain > 100 * (len(drawn) + 1):
            raise ConfigError(f"--random {number}: there are {len(drawn)} different settings only; ask for fewer")
    return [dict(zip(axes, values, strict=True)) for values in drawn]


def _plain(key: str, values: Sequence[str]) -> tuple[str, ...]:
    for value in values:
        if _LIKE_ONE.fullmatch(value):
            raise ConfigError(
                f"{key}={value}: there is no such distribution; choose log(a,b), uniform(a,b), integer(a,b)"
            )
    return tuple(values)


def _one_of(source: Distribution | tuple[str, ...], rng: np.random.Generator) -> str:
    return source.draw(rng) if isinstance(source, Distribution) else source[rng.integers(len(source))]


def _numbers(kind: str) -> str:
    return "whole numbers" if kind == "integer" else "numbers"
