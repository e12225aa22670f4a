"""A coordinate system in SVG."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastreid_ext.projects.gms.report.markup import element, escaped

__all__ = ["Axes", "drawing", "spread", "ticks"]

_FAR = 4.0  # Heights above or below the panel beyond which a curve is not followed.


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round numbers in [low, high]: multiples of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(count, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def spread(values: Iterable[float], margin: float = 0.06) -> tuple[float, float]:
    """The range of values with some room on both sides, never empty."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    room = (high - low) * margin or max(abs(high) * 0.05, 0.05)
    return low - room, high + room


@dataclass(frozen=True)
class Axes:
    """A panel that shows [x_low, x_high] times [y_low, y_high].

    Attributes:
        left: of the panel, in the drawing's units.
        top: of the panel.
        width: of the panel.
        height: of the panel.
        x_range: what lies at its left and right edge.
        y_range: what lies at its lower and upper edge.
    """

    left: float
    top: float
    width: float
    height: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Where a value of x lies."""
        low, high = self.x_range
        return self.left + self.width * (value - low) / (high - low)

    def y(self, value: float) -> float:
        """Where a value of y lies; far outside, no farther than some heights of the panel."""
        low, high = self.y_range
        share = min(max((value - low) / (high - low), -_FAR), 1 + _FAR)
        return self.top + self.height * (1 - share)

    def path(self, xs: Sequence[float], ys: Sequence[float], **attributes: object) -> str:
        """A line through points, interrupted where y is not finite."""
        steps: list[str] = []
        command = "M"
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(y):
                steps.append(f"{command}{self.x(x):.1f} {self.y(y):.1f}")
                command = "L"
            else:
                command = "M"
        return element("path", d="".join(steps), **attributes)

    def frame(self, x_label: str, y_label: str, *, x_ticks: int = 5, y_ticks: int = 5) -> str:
        """Grid, ticks and labels."""
        right, bottom = self.left + self.width, self.top + self.height
        parts = []
        for value in ticks(*self.x_range, x_ticks):
            x = f"{self.x(value):.1f}"
            parts.append(element("line", class_="grid", x1=x, x2=x, y1=self.top, y2=bottom))
            parts.append(label(x, bottom + 16, tick_text(value), "middle"))
        for value in ticks(*self.y_range, y_ticks):
            y = self.y(value)
            parts.append(element("line", class_="grid", x1=self.left, x2=right, y1=f"{y:.1f}", y2=f"{y:.1f}"))
            parts.append(label(self.left - 7, f"{y + 4:.1f}", tick_text(value), "end"))
        parts.append(element("line", class_="axis", x1=self.left, x2=right, y1=bottom, y2=bottom))
        parts.append(label(self.left + self.width / 2, bottom + 34, x_label, "middle", "axis-label"))
        parts.append(label(self.left, self.top - 10, y_label, "start", "axis-label"))
        return "".join(parts)

    def clip(self, name: str) -> str:
        """A clip path of the panel's size, by which curves are kept inside."""
        panel = element("rect", x=self.left, y=self.top, width=self.width, height=self.height)
        return element("clipPath", panel, id=name)


def label(x: object, y: object, text: str, anchor: str, class_: str = "tick") -> str:
    """A line of text, whose point (x, y) is its start, middle or end."""
    return element("text", escaped(text), x=x, y=y, text_anchor=anchor, class_=class_)


def tick_text(value: float) -> str:
    """A tick's number, with a true minus sign."""
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def drawing(width: float, height: float, description: str, *children: str, class_: str = "chart") -> str:
    """An SVG picture that grows and shrinks with the page, with a description for those who do not see it."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        class_=class_,
        role="img",
        aria_label=description,
        style=f"max-width:{width:g}px",
    )
