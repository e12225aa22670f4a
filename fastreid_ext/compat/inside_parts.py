"""Backbones and heads, of FastReID's registries and of ours, for models inside FastReID."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY
from torch import Tensor, nn

from fastreid_ext.config import ConfigError
from fastreid_ext.modeling import backbones, heads

__all__ = ["OurPart", "build_backbone", "build_heads", "find", "last_map", "our_backbone", "our_head"]


class OurPart:
    """What FastReID's registries hold of ours: called with the config, it makes the part.

    Args:
        name: in FastReID's registry.
        ours: name in our registry.
        make: config with our name -> part.
    """

    def __init__(self, name: str, ours: str, make: Callable[[Any], nn.Module]) -> None:
        self.__name__, self.ours, self._make = name, ours, make

    def __call__(self, cfg: Any) -> nn.Module:
        return self._make(cfg)


def find(registry: Any, name: str) -> Any:
    """What a registry of FastReID has under a name, or None."""
    try:
        return registry.get(name)
    except KeyError:
        return None


def our_backbone(name: str, ours: str) -> OurPart:
    """A backbone of ours, for FastReID's registry; it gives heads of FastReID the last map alone."""

    def make(cfg: Any) -> nn.Module:
        backbone = build_backbone(cfg)
        width = backbone.feature_dim
        if width != cfg.MODEL.BACKBONE.FEAT_DIM:
            raise ConfigError(
                f"{name} gives {width} channels, but MODEL.BACKBONE.FEAT_DIM, which FastReID's Baseline reads, is "
                f"{cfg.MODEL.BACKBONE.FEAT_DIM}: set it to {width}, or MODEL.META_ARCHITECTURE to ExtBaseline"
            )
        return backbone

    return OurPart(name, ours, make)


def our_head(name: str, ours: str) -> OurPart:
    """A head of ours, for FastReID's registry, on a map of `MODEL.BACKBONE.FEAT_DIM` channels."""
    return OurPart(name, ours, lambda cfg: build_heads(cfg, cfg.MODEL.BACKBONE.FEAT_DIM))


def build_backbone(cfg: Any) -> nn.Module:
    """The backbone that FastReID's registry, else ours, has under `MODEL.BACKBONE.NAME`; with `feature_dim`.

    Raises:
        RegistryError: neither has one.
        ConfigError: see our `build_backbone`.
    """
    found = find(BACKBONE_REGISTRY, cfg.MODEL.BACKBONE.NAME)
    if found is None or isinstance(found, OurPart):
        backbone = backbones.build_backbone(_named(cfg, "BACKBONE", found))
    else:
        backbone = found(cfg)
        if not hasattr(backbone, "feature_dim"):
            backbone.feature_dim = cfg.MODEL.BACKBONE.FEAT_DIM
    head = find(REID_HEADS_REGISTRY, cfg.MODEL.HEADS.NAME)
    if head is not None and not isinstance(head, OurPart):
        # As a hook, it leaves the names of the backbone's state as they are.
        backbone.register_forward_hook(_give_last_map)
    return backbone


def build_heads(cfg: Any, feature_dim: int) -> nn.Module:
    """The head that FastReID's registry, else ours, has under `MODEL.HEADS.NAME`, on maps of `feature_dim` channels.

    Raises:
        RegistryError: neither has one.
    """
    found = find(REID_HEADS_REGISTRY, cfg.MODEL.HEADS.NAME)
    if found is None or isinstance(found, OurPart):
        return heads.build_heads(_named(cfg, "HEADS", found), feature_dim)
    made = _changeable(cfg)
    made.MODEL.BACKBONE.FEAT_DIM = feature_dim
    head: nn.Module = found(made)
    return head


def last_map(maps: Tensor | Mapping[str, Tensor]) -> Tensor | None:
    """The last map of what a backbone returned, where there is one."""
    return maps.get("last") if isinstance(maps, Mapping) else maps


def _give_last_map(backbone: nn.Module, inputs: Any, maps: Any) -> Any:
    return last_map(maps)


def _named(cfg: Any, node: str, found: OurPart | None) -> Any:
    """The config with the name that our registry knows."""
    if found is None:
        return cfg
    made = _changeable(cfg)
    made.MODEL[node].NAME = found.ours
    return made


def _changeable(cfg: Any) -> Any:
    made = cfg.clone()
    made.defrost()
    return made
