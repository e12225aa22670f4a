"""How configs differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastreid_ext.config.loader import get_cfg
from fastreid_ext.config.node import CfgNode

__all__ = ["below", "differences", "nested_changes"]


def nested_changes(cfg: CfgNode, *, without: str = "") -> dict[str, Any]:
    """The keys that differ from the defaults of the config's projects, as a YAML file has them.

    Args:
        cfg: of which project and options.
        without: a node to leave out, such as "SEARCH".
    """
    defaults = dict(get_cfg(cfg.PROJECTS).leaves())
    changed = {key: value for key, value in cfg.leaves() if value != defaults[key]}
    nested: dict[str, Any] = {}
    for key, value in {"PROJECTS": list(cfg.PROJECTS), **changed}.items():
        *path, name = key.split(".")
        if without and key.startswith(f"{without}."):
            continue
        node = nested
        for part in path:
            node = node.setdefault(part, {})
        node[name] = list(value) if isinstance(value, tuple) else value
    return nested


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two nested mappings have different, by dotted key; None where one lacks the key."""
    first, second = dict(_leaves(before)), dict(_leaves(now))
    return {
        key: (first.get(key), second.get(key))
        for key in {**first, **second}
        if key not in first or key not in second or first[key] != second[key]
    }


def below(key: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a dotted key is one of these, or in one of these nodes."""
    return any(f"{key}.".startswith(f"{prefix}.") for prefix in prefixes)


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
