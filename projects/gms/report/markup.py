"""Elements of HTML and SVG as text."""

from __future__ import annotations

import math
from html import escape

__all__ = ["element", "escaped", "figure", "score_text", "shortened"]

_VOID = frozenset({"meta", "br", "hr"})


def escaped(value: object) -> str:
    """Text for between tags and in attributes."""
    return escape(str(value), quote=True)


def element(name: str, /, *children: str, **attributes: object) -> str:
    """A tag around children, which are markup already; attributes are escaped here.

    A trailing underscore of an attribute's name is dropped (`class_`), others become hyphens (`stroke_width`).
    """
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{escaped(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return f"<{name}{pairs}>"
    return f"<{name}{pairs}>{''.join(children)}</{name}>"


def figure(value: object) -> str:
    """A value for people: numbers with four significant digits, integers with thin spaces between thousands."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    return f"{value:.4g}".replace("-", "\N{MINUS SIGN}")


def score_text(value: float | None) -> str:
    """A score, with as many decimals as its fellows in a column."""
    if value is None or not math.isfinite(value):
        return "\N{EN DASH}"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.2f}"


def shortened(text: str, length: int = 200) -> str:
    """The beginning of a long text."""
    return text if len(text) <= length else text[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"
