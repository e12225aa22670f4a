"""Finds and loads projects; contains none.

A project is a package whose import registers its parts and whose `add_config(cfg)` adds its keys. It lives in
`projects/<name>` of a checkout, is installed as `fastreid_ext.projects.<name>`, or is announced by another package in
the entry-point group `fastreid_ext.projects`.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from fastreid_ext.registry import RegistryError, close_matches

__all__ = ["available", "load"]

_CHECKOUT = Path(__file__).resolve().parents[2]
if (_CHECKOUT / "setup.cfg").is_file() and (_CHECKOUT / "projects").is_dir():
    __path__.append(str(_CHECKOUT / "projects"))

_ENTRY_POINT_GROUP = "fastreid_ext.projects"


def available() -> list[str]:
    """Names that `load` knows."""
    own = {module.name for module in pkgutil.iter_modules(__path__) if module.ispkg}
    return sorted(own | {point.name for point in entry_points(group=_ENTRY_POINT_GROUP)})


def load(name: str) -> ModuleType:
    """Imports a project, which registers its parts.

    Raises:
        RegistryError: there is no project of that name.
    """
    for point in entry_points(group=_ENTRY_POINT_GROUP):
        if point.name == name:
            module = point.load()
            assert isinstance(module, ModuleType)
            return module
    if name not in available():
        matches = close_matches(name, available())
        hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
        raise RegistryError(f"unknown project '{name}' in PROJECTS.{hint} Available: {', '.join(available())}")
    return importlib.import_module(f"fastreid_ext.projects.{name}")
