"""A config of ours as a short YAML file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from fastreid_ext.compat.config_report.modern import changed_keys
from fastreid_ext.compat.config_report.old_config import OldConfig
from fastreid_ext.config import CfgNode

__all__ = ["MADE_FROM", "modern_yaml", "yaml_value"]

MADE_FROM = "# Made from FastReID's"
"""Begins what is written."""


def modern_yaml(
    old: OldConfig, modern: CfgNode, *, published: bool = False, remarks: Mapping[str, Sequence[str]] | None = None
) -> str:
    """The keys that differ from our defaults, below a line that says where they come from.

    Args:
        old: a config of FastReID.
        modern: the same for this toolbox.
        published: whether FastReID's own ways are kept.
        remarks: sentences for comments, by heading.
    """
    bases = ", ".join(file.name for file in old.files[:-1])
    made = f"{MADE_FROM} {old.path.name}" + (f" with {bases}" if bases else "")
    told = "; with FastReID's own ways, as its figures and weights need them." if published else "."
    nested: dict[str, Any] = {}
    for key, value in changed_keys(modern).items():
        *path, name = key.split(".")
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[name] = value
    head = textwrap.wrap(made + told, 100, subsequent_indent="# ")
    return "\n".join([*head, *_comments(remarks or {}), *_lines(nested)]) + "\n"


def yaml_value(value: Any) -> str:
    """A value as it stands in a YAML file of ours."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(yaml_value, value))}]"
    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000, allow_unicode=True)).split("\n", 1)[0]


def _comments(remarks: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for heading, texts in remarks.items():
        if texts:
            yield f"# {heading}:"
        for line in (line for text in texts for line in text.split("\n")):
            yield from textwrap.wrap(
                line,
                100,
                initial_indent="#   ",
                subsequent_indent="#     ",
                break_long_words=False,
                break_on_hyphens=False,
            )


def _lines(values: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield f"{indent}{key}:"
            yield from _lines(value, f"{indent}  ")
        else:
            yield f"{indent}{key}: {yaml_value(value)}"
