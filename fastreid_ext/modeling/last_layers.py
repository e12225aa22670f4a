"""The last activations and the poolings of a model, and other modules in their place for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from fastreid_ext.config import ConfigError
from fastreid_ext.modeling.layers.pooling import POOLINGS, Flatten, Identity
from fastreid_ext.modeling.meta_arch.base import ReIDModel
from fastreid_ext.modeling.trial import names_of_last_relus

__all__ = ["Place", "dropping_poolings", "last_activations", "pooling_layers", "swapped"]

Place = tuple[nn.Module, str]
"""A module and the name of a child of it."""


def pooling_layers(model: nn.Module) -> list[Place]:
    """Where the heads of a model pool maps: the layers outside its backbone that are registered as poolings.

    Args:
        model: its attribute `map_parts`, if it has one, names the parts that make maps; without, "backbone" does.

    Raises:
        ConfigError: there are none.
    """
    training_only = model.training_only if isinstance(model, ReIDModel) else ReIDModel.training_only
    passed_over = {"backbone", *_map_parts(model), *training_only}
    kinds = [entry.target for entry in POOLINGS if entry.target not in (Identity, Flatten)]
    classes = tuple(kind for kind in kinds if isinstance(kind, type))
    places = [
        place
        for name, part in model.named_children()
        if name not in passed_over
        for place in ([(model, name)] if isinstance(part, classes) else _below(part, classes))
    ]
    if not places:
        heads = sorted({type(part).__name__ for name, part in model.named_children() if name not in passed_over})
        raise ConfigError(
            f"TEST.MIXED_POOL stands in for the pooling of heads, but {', '.join(heads) or type(model).__name__} has "
            f"none that is registered and pools: turn TEST.MIXED_POOL.ENABLED off, or pool with a layer of POOLINGS "
            f"(MODEL.HEADS.POOL_LAYER)"
        )
    return places


def last_activations(model: nn.Module) -> list[Place]:
    """Where the ReLUs are whose outputs are the last maps of a model, those that its heads take.

    A part that makes a map names them itself, in a method `last_activations`, or else the map of a trial image must be
    the output of one `nn.ReLU` that is called once.

    Args:
        model: takes a batch dict; its attribute `map_parts`, if it has one, names the parts that make maps; without,
            "backbone" does.

    Raises:
        ConfigError: the last map is no ReLU's output, or it cannot be known.
    """
    parts = {name: getattr(model, name, None) for name in _map_parts(model)}
    absent = [name for name, part in parts.items() if not isinstance(part, nn.Module)]
    if absent:
        raise ConfigError(
            f"TEST.LEAKY_RELU cannot know the last activation of {type(model).__name__}, which has no part "
            f"{' and '.join(absent)}: turn TEST.LEAKY_RELU.ENABLED off, or name the parts that make maps in an "
            f"attribute map_parts"
        )
    declared = {name: list(_declared(part)) for name, part in parts.items()}
    unknown = [name for name, names in declared.items() if not names]
    found = names_of_last_relus(model, unknown) if unknown else {}
    names = [f"{part}.{name}" for part in parts for name in declared[part]] + list(found.values())
    return [place for name in names for place in _places(model, model.get_submodule(name))]


def dropping_poolings(model: nn.Module) -> list[str]:
    """Kinds of the poolings of heads that let nothing negative pass, such as GeM, which say so in `drops_negatives`."""
    try:
        poolings = [parent.get_submodule(name) for parent, name in pooling_layers(model)]
    except ConfigError:
        return []
    return sorted({type(pooling).__name__ for pooling in poolings if getattr(pooling, "drops_negatives", False)})


@contextmanager
def swapped(places: Sequence[Place], make: Callable[[nn.Module], nn.Module]) -> Iterator[None]:
    """Puts `make(old module)` in each place inside the block; afterwards the old modules are there again.

    Args:
        places: of the modules.
        make: gives a module that is put into the mode, training or evaluation, of the old one.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        for parent, name in places:
            old = parent.get_submodule(name)
            new = make(old).train(old.training)
            replaced.append((parent, name, old))
            setattr(parent, name, new)
        yield
    finally:
        for parent, name, old in reversed(replaced):
            setattr(parent, name, old)


def _map_parts(model: nn.Module) -> Sequence[str]:
    parts: Sequence[str] = getattr(model, "map_parts", ReIDModel.map_parts)
    return parts


def _declared(part: Any) -> Sequence[str]:
    names = getattr(part, "last_activations", None)
    return tuple(names()) if callable(names) else ()


def _below(module: nn.Module, classes: tuple[type, ...]) -> Iterator[Place]:
    """Outermost modules of these classes."""
    for name, child in module.named_children():
        if isinstance(child, classes):
            yield module, name
        else:
            yield from _below(child, classes)


def _places(model: nn.Module, wanted: nn.Module) -> list[Place]:
    """All names of a module, of which its parents may have several."""
    children: Mapping[str, nn.Module] = dict(model.named_modules(remove_duplicate=False))
    owners = (name.rpartition(".")[::2] for name, child in children.items() if child is wanted)
    unique = {(id(children[owner]), name): (children[owner], name) for owner, name in owners}
    return list(unique.values())
