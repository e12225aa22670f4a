"""Tables of rows that somebody else made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastreid_ext.projects.gms.report.markup import element, escaped, figure, shortened

__all__ = ["settings_table", "table"]

_MOST_ROWS = 50


def table(rows: Sequence[Mapping[str, Any]], caption: str) -> str:
    """Rows under the names of their entries, numbers to the right; of more than 50 rows, the last 50."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {column for column in columns if all(_is_number(row.get(column, 0)) for row in rows)}
    classes = {column: {"class_": "number"} if column in numeric else {} for column in columns}
    head = element("tr", *(element("th", escaped(column), scope="col", **classes[column]) for column in columns))
    body = (
        element("tr", *(element("td", _text(row.get(column, "")), **classes[column]) for column in columns))
        for row in rows[-_MOST_ROWS:]
    )
    parts = element("caption", escaped(caption)), element("thead", head), element("tbody", *body)
    return element("div", element("table", *parts), class_="scrolls", tabindex=0)


def settings_table(settings: Mapping[str, Any]) -> str:
    """Names and values; names inside nested settings are joined by dots."""
    rows = (
        element("tr", element("th", escaped(name), scope="row"), element("td", escaped(shortened(str(value), 400))))
        for name, value in _flat(settings)
    )
    return element("table", element("tbody", *rows), class_="settings")


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _text(value: object) -> str:
    return escaped(shortened(figure(value)))
