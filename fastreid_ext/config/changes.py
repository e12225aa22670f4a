"""What a config says that the defaults do not."""

from __future__ import annotations

from typing import Any

from fastreid_ext.config.loader import get_cfg
from fastreid_ext.config.node import CfgNode

__all__ = ["nested_changes"]


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
