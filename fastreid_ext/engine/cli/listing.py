"""What is registered, as tables."""

from __future__ import annotations

import importlib

from fastreid_ext import projects
from fastreid_ext.config import load_config
from fastreid_ext.config.loader import config_files
from fastreid_ext.config.reference import config_keys
from fastreid_ext.registry import Registry

__all__ = ["KINDS", "describe", "registries"]

_WHERE = {
    "backbones": ("fastreid_ext.modeling.backbones", "BACKBONES"),
    "heads": ("fastreid_ext.modeling.heads", "HEADS"),
    "meta_archs": ("fastreid_ext.modeling.meta_arch", "META_ARCHS"),
    "losses": ("fastreid_ext.modeling.losses", "LOSSES"),
    "cls_layers": ("fastreid_ext.modeling.layers.cls", "CLS_LAYERS"),
    "poolings": ("fastreid_ext.modeling.layers.pooling", "POOLINGS"),
    "datasets": ("fastreid_ext.data.datasets", "DATASETS"),
    "samplers": ("fastreid_ext.data.samplers", "SAMPLERS"),
    "transforms": ("fastreid_ext.data.transforms", "TRANSFORMS"),
    "evaluators": ("fastreid_ext.evaluation.evaluators", "EVALUATORS"),
    "optimizers": ("fastreid_ext.solver", "OPTIMIZERS"),
    "schedulers": ("fastreid_ext.solver", "SCHEDULERS"),
    "loss_searches": ("fastreid_ext.engine.searches", "LOSS_SEARCHES"),
    "architecture_searches": ("fastreid_ext.engine.searches", "ARCHITECTURE_SEARCHES"),
}

KINDS = (*_WHERE, "projects", "configs", "keys")
"""What `--list` takes."""


def registries() -> dict[str, Registry]:
    """Every registry of parts by its name."""
    return {kind: getattr(importlib.import_module(module), name) for kind, (module, name) in _WHERE.items()}


def describe(kind: str = "", config_file: str = "") -> str:
    """Tables of all kinds or of one; all projects' parts are shown unless a config names its own.

    Args:
        kind: one of `KINDS`, or empty for all.
        config_file: its projects are loaded instead of all.
    """
    if config_file:
        load_config(config_file)
    else:
        for project in projects.available():
            projects.load(project)
    kinds = [kind] if kind else [*KINDS]
    return "\n\n".join(f"{name}\n{_table(name)}" for name in kinds)


def _table(kind: str) -> str:
    if kind == "projects":
        docs = {name: (projects.load(name).__doc__ or "").split("\n", 1)[0] for name in projects.available()}
        return "\n".join(f"{name}  {doc}" for name, doc in docs.items())
    if kind == "configs":
        return "\n".join(config_files())
    if kind == "keys":
        return "\n".join(f"{key.name}  {key.default!r}  {key.meaning}" for key in config_keys() if not key.is_section)
    return registries()[kind].describe()
