"""What a search for inference strategies leaves: a config, a list of all settings, a table."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from fastreid_ext.engine.tuning.search import Found, SettingSearch
from fastreid_ext.engine.tuning.setting import STRATEGIES
from fastreid_ext.utils.files import atomic_write

__all__ = ["CONFIG", "SETTINGS", "table", "write_config", "write_settings"]

CONFIG = "inference.yml"
SETTINGS = "settings.csv"

_COLUMNS = ("alpha", "slope", "beta", "flip")
_RERANK_COLUMNS = ("k1", "k2", "lambda")


def write_settings(path: Path, found: Sequence[Found]) -> None:
    """All settings in the order in which they were tried, a line each; empty fields are off."""
    names = list(dict.fromkeys(name for one in found for name in one.figures))
    with atomic_write(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["number", *_COLUMNS, *_RERANK_COLUMNS, "score", *names])
        for number, one in enumerate(found, start=1):
            setting = one.setting
            rerank = setting.rerank[:3] if setting.rerank else ("", "", "")
            writer.writerow(
                [number, *(getattr(setting, column) for column in _COLUMNS), *rerank, one.score]
                + [one.figures.get(name, "") for name in names]
            )


def write_config(folder: Path, base: Path | None, options: dict[str, Any], comment: str) -> Path:
    """A config that is the other one with this `TEST` block, and with `folder` for what is written.

    Args:
        folder: where the config goes.
        base: the other config; None for the defaults.
        options: the block.
        comment: what the first lines say.
    """
    path = folder / CONFIG
    above = base is not None and folder.resolve().is_relative_to(base.resolve().parent)
    values: dict[str, Any] = {"OUTPUT_DIR": str(folder), "TEST": options}
    if base is not None:
        # A run's folder may move as a whole, a config elsewhere stays where it is.
        name = os.path.relpath(base.resolve(), folder.resolve()) if above else str(base.resolve())
        values = {"_BASE_": name, **values}
    with atomic_write(path) as file:
        file.writelines(f"# {line}\n" for line in comment.splitlines())
        yaml.safe_dump(values, file, sort_keys=False)
    return path


def table(search: SettingSearch, metric: str) -> str:
    """Nothing, each strategy alone with its best value, the best setting's added up, and the best; in percent."""
    rows = [("nothing" if search.base.strategies == () else search.base.describe(), search.found.get(search.base))]
    rows += [
        (f"alone: {found.setting.describe()}", found)
        for name in STRATEGIES
        if name in search.choices.strategies and (found := search.best_alone(name)) is not None
    ]
    rows += [(f"added up: {setting.describe()}", search.found.get(setting)) for setting in search.sums()[1:]]
    rows.append((f"best: {search.best.setting.describe()}", search.best))
    tried = [(label, found) for label, found in rows if found is not None]
    names = list(dict.fromkeys([metric, *(name for _, found in tried for name in found.figures)]))
    body = [[label, *(found.figures.get(name) for name in names)] for label, found in tried]
    return tabulate(body, headers=["setting", *names], floatfmt=".1f", tablefmt="github")
