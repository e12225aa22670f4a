"""Many configs of FastReID at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from fastreid_ext.compat.config_report.explain import Explanation
from fastreid_ext.config import ConfigError

__all__ = ["summary"]


def summary(explained: Mapping[Path, Explanation | ConfigError], bases: int = 0) -> str:
    """A line for each file with the numbers of differences and mistakes, and their sum.

    Args:
        explained: what was said about each file, or why nothing could be.
        bases: files that were left out.
    """
    rows: list[tuple[str, int | str, int | str, str]] = []
    for path, what in explained.items():
        if isinstance(what, ConfigError):
            rows.append((str(path), "-", "-", "cannot be read"))
        else:
            rows.append((str(path), len(what.differences), len(what.mistakes), _note(what)))
    read = [what for what in explained.values() if not isinstance(what, ConfigError)]
    differences, mistakes = (sum(len(getattr(what, kind)) for what in read) for kind in ("differences", "mistakes"))
    rows.append((f"{len(explained)} files", differences, mistakes, _total(explained, read, bases)))
    headers = ["config", "differences", "likely mistakes", ""]
    # The notes have a column only where there are some.
    width = len(headers) if any(row[-1] for row in rows) else len(headers) - 1
    return tabulate([row[:width] for row in rows], headers=headers[:width], disable_numparse=True)


def _note(what: Explanation) -> str:
    if what.not_here:
        return "does not run here"
    return "of an older version" if what.spellings else ""


def _total(explained: Mapping[Path, Explanation | ConfigError], read: Sequence[Explanation], bases: int) -> str:
    counts = {
        "cannot be read": len(explained) - len(read),
        "do not run here": sum(bool(one.not_here) for one in read),
        "base left out" if bases == 1 else "bases left out": bases,
    }
    return ", ".join(f"{count} {title}" for title, count in counts.items() if count)
