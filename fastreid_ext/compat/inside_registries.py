"""Our parts in FastReID's registries."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from fastreid.modeling.meta_arch import META_ARCH_REGISTRY

from fastreid_ext.compat.inside_datasets import our_dataset
from fastreid_ext.compat.inside_models import ExtBaseline, inside_fastreid
from fastreid_ext.compat.inside_parts import find, our_backbone, our_head
from fastreid_ext.config import ConfigError
from fastreid_ext.data.datasets import DATASETS
from fastreid_ext.modeling import BACKBONES, HEADS, META_ARCHS
from fastreid_ext.modeling.meta_arch import ReIDModel
from fastreid_ext.registry import Entry, Registry

__all__ = ["register_dataset", "register_parts"]

Maker = Callable[[str, Entry], Any]
"""Of a name in FastReID's registry and what ours has: what to register there; None for nothing."""

_done: dict[tuple[Registry, str], str] = {}
"""Names in FastReID's registries by those in ours."""


def register_parts() -> None:
    """Registers whatever our registries hold and has not been registered before."""
    for ours, theirs, make in (
        (BACKBONES, BACKBONE_REGISTRY, lambda name, entry: our_backbone(name, entry.name)),
        (HEADS, REID_HEADS_REGISTRY, lambda name, entry: our_head(name, entry.name)),
        (META_ARCHS, META_ARCH_REGISTRY, _model),
        (DATASETS, DATASET_REGISTRY, _dataset),
    ):
        for entry in ours:
            _register(theirs, ours, entry, make)


def register_dataset(name: str, spec: str) -> None:
    """Registers a data set of ours with its options under a name; see `fastreid_ext.compat.fastreid`."""
    if _done.get((DATASETS, spec)) == name:
        return
    if find(DATASET_REGISTRY, name) is not None:
        raise ConfigError(f"FastReID has a data set {name} already: take another name for {spec}")
    DATASET_REGISTRY.register(our_dataset(name, spec))
    _done[DATASETS, spec] = name


def _register(theirs: Any, ours: Registry, entry: Entry, make: Maker) -> None:
    for spelling in (entry.name, *entry.aliases):
        if (ours, spelling) in _done:
            continue
        taken = find(theirs, spelling) is not None
        if taken and spelling != entry.name:
            continue
        name = f"Ext{spelling}" if taken else spelling
        part = make(name, entry)
        if part is not None:
            theirs.register(part)
            _done[ours, spelling] = name


def _model(name: str, entry: Entry) -> Any:
    """Meta-architectures that only a program of their own can train are left out."""
    model = entry.target
    if name == ExtBaseline.__name__:
        return ExtBaseline
    if not (isinstance(model, type) and issubclass(model, ReIDModel)) or hasattr(model, "program"):
        return None
    return inside_fastreid(name, model)


def _dataset(name: str, entry: Entry) -> Any:
    """Data sets that need options are left out: `register_dataset` takes them."""
    parameters = inspect.signature(entry.target).parameters.values()
    needed = [p for p in parameters if p.name != "root" and p.default is p.empty]
    return None if needed else our_dataset(name, entry.name)
