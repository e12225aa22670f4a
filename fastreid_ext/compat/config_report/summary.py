"""Many configs of FastReID at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from fastreid_ext.compat.config_report.explain import Explanation
from fastreid_ext.config import ConfigError

__all__ = ["find_configs", "summary"]


def find_configs(places: Sequence[str]) -> list[Path]:
    """The YAML files among `places` and below the folders among them, without bases, each once.

    A base, whose name begins with "Base", counts where it is named itself, or where a folder has nothing else.

    Raises:
        ConfigError: nothing of that name, or a folder without YAML.
    """
    found: dict[Path, None] = {}
    for place in map(Path, places):
        if not place.exists():
            raise ConfigError(f"no config file or folder {place} (looked in {Path.cwd()})")
        found.update(dict.fromkeys(_below(place) if place.is_dir() else [place]))
    return list(found)


def summary(explained: Mapping[Path, Explanation | ConfigError]) -> str:
    """A line for each file with the numbers of differences and mistakes, and their sum.

    Args:
        explained: what was said about each file, or why nothing could be.
    """
    rows: list[tuple[str, int | str, int | str, str]] = []
    for path, what in explained.items():
        if isinstance(what, ConfigError):
            rows.append((str(path), "-", "-", "cannot be read"))
        else:
            rows.append((str(path), len(what.differences), len(what.mistakes), _note(what)))
    read = [what for what in explained.values() if not isinstance(what, ConfigError)]
    differences, mistakes = (sum(len(getattr(what, kind)) for what in read) for kind in ("differences", "mistakes"))
    rows.append((f"{len(explained)} files", differences, mistakes, _total(explained, read)))
    headers = ["config", "differences", "likely mistakes", ""]
    # The notes have a column only where there are some.
    width = len(headers) if any(row[-1] for row in rows) else len(headers) - 1
    return tabulate([row[:width] for row in rows], headers=headers[:width], disable_numparse=True)


def _below(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".yml", ".yaml") and path.is_file())
    if not files:
        raise ConfigError(f"no YAML file below the folder {folder}")
    return [path for path in files if not path.name.startswith("Base")] or files


def _note(what: Explanation) -> str:
    if what.not_here:
        return "does not run here"
    return "of an older version" if what.spellings else ""


def _total(explained: Mapping[Path, Explanation | ConfigError], read: Sequence[Explanation]) -> str:
    counts = {"cannot be read": len(explained) - len(read), "do not run here": sum(bool(one.not_here) for one in read)}
    return ", ".join(f"{count} {title}" for title, count in counts.items() if count)
