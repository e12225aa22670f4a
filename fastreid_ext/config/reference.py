"""Every config key with its default and its meaning."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

from fastreid_ext import projects
from fastreid_ext.config.loader import get_cfg
from fastreid_ext.config.node import CfgNode

__all__ = ["ConfigKey", "config_keys"]


@dataclass(frozen=True)
class ConfigKey:
    """A key, or a section of keys.

    Attributes:
        name: dotted: `TEST.FLIP.ENABLED`.
        default: None for a section.
        meaning: one or a few sentences; empty where nobody has written any.
        project: that adds it; empty for the toolbox's own.
    """

    name: str
    default: Any
    meaning: str
    project: str = ""

    @property
    def is_section(self) -> bool:
        """Whether it holds keys instead of a value."""
        return self.default is None

    @property
    def type(self) -> str:
        """Name of the default's type; empty for a section."""
        return "" if self.is_section else type(self.default).__name__


def config_keys() -> list[ConfigKey]:
    """All keys and sections in their order, those of each project behind the toolbox's own.

    Meanings are the comments above the lines that set the defaults.
    """
    found = {key.name: key for key in _keys()}
    for project in projects.available():
        for key in _keys([project], label=project):
            found.setdefault(key.name, key)
    return list(found.values())


def _keys(names: Sequence[str] = (), *, label: str = "") -> Iterator[ConfigKey]:
    places: dict[tuple[int, str], tuple[str, int]] = {}

    def set_and_remember(node: CfgNode, name: str, value: Any) -> None:
        caller = sys._getframe(1)
        # What is set again, as PROJECTS is, has its comment where it was set first.
        places.setdefault((id(node), name), (caller.f_code.co_filename, caller.f_lineno))
        node[name] = value

    # Whoever sets a default stands beside its comment: no parser of source code knows as well which node it is set in.
    with mock.patch.object(CfgNode, "__setattr__", set_and_remember):
        cfg = get_cfg(names)

    def walk(node: CfgNode, prefix: str) -> Iterator[ConfigKey]:
        for name, value in node.items():
            is_section = isinstance(value, CfgNode)
            place = places.get((id(node), name))
            yield ConfigKey(prefix + name, None if is_section else value, _comment_above(place), label)
            if is_section:
                yield from walk(value, f"{prefix}{name}.")

    yield from walk(cfg, "")


def _comment_above(place: tuple[str, int] | None) -> str:
    """The block of comments that ends on the line before."""
    if place is None:
        return ""
    file, line = place
    words: list[str] = []
    while (text := linecache.getline(file, line := line - 1).strip()).startswith("#"):
        words.insert(0, text.lstrip("# "))
    return " ".join(words)
