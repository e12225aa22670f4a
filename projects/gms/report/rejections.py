"""What became of the proposals that were not evaluated."""

from __future__ import annotations

from fastreid_ext.projects.gms.report.axes import drawing, label
from fastreid_ext.projects.gms.report.markup import element, escaped, figure, shortened
from fastreid_ext.projects.gms.report.summary import Summary
from fastreid_ext.projects.gms.report.tables import table

__all__ = ["fates", "reasons"]

_MOST_STAGES = 10
_LEFT, _BAR, _ROW = 170.0, 460.0, 28.0


def fates(summary: Summary) -> str:
    """A bar for each stage of the screening, and for what came after it, in shares of all proposals."""
    stages = summary.stages.most_common()
    rows = [(f"rejected: {stage}", count, "rejected") for stage, count in stages[:_MOST_STAGES]]
    rest = sum(count for _, count in stages[_MOST_STAGES:])
    rows.append(("rejected: other stages", rest, "rejected"))
    states = (("duplicate", "duplicates"), ("failed", "failed"), ("waiting", "waiting"), ("evaluated", "evaluated"))
    rows.extend((name, summary.states[state], state) for state, name in states)
    rows = [row for row in rows if row[1]]
    total = sum(summary.states.values())
    bars = [_bar(place, *row, total=total) for place, row in enumerate(rows)]
    description = f"What became of {total} proposals: " + ", ".join(f"{name} {count}" for name, count, _ in rows)
    return drawing(_LEFT + _BAR + 170, _ROW * len(rows) + 8, description, *bars)


def _bar(place: int, name: str, count: int, class_: str, *, total: int) -> str:
    top, width = 4 + place * _ROW, max(_BAR * count / total, 1.0)
    text = f"{figure(count)}  ({100 * count / total:.1f} %)"
    bar = element("rect", x=_LEFT, y=top, width=f"{width:.1f}", height=_ROW - 8, rx=3, class_=f"bar {class_}")
    name_at, text_at = label(_LEFT - 10, top + 14, shortened(name, 26), "end"), f"{_LEFT + width + 8:.1f}"
    return element(
        "g", element("title", escaped(f"{name}: {text}")), name_at, bar, label(text_at, top + 14, text, "start")
    )


def reasons(summary: Summary, count: int = 10) -> str:
    """The commonest reasons of rejections, and the latest failures."""
    parts = []
    if summary.reasons:
        rows = [{"rejected": number, "reason": reason} for reason, number in summary.reasons.most_common(count)]
        parts.append(table(rows, "Commonest reasons of rejections"))
    if summary.failures:
        failed = [{"trial": trial.number, "reason": trial.reason} for trial in summary.failures]
        parts.append(table(failed, "Latest failures"))
    return "".join(parts)
