"""The network of a config, built without memory for its weights."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from fastreid_ext.config import CfgNode
from fastreid_ext.modeling import build_model

__all__ = ["Network", "build_network"]


@dataclass(frozen=True)
class Network:
    """What is known of a network.

    Attributes:
        shapes: of all weights and buffers, by state name.
        modules: names of all modules but the whole.
        parameters: numbers in all weights.
        feature_dim: channels of the backbone's last map; 0 where it does not say.
        embedding_dim: width of the embeddings; 0 where the heads do not say.
        failure: why it cannot be built here; all else is empty then.
    """

    shapes: Mapping[str, tuple[int, ...]]
    modules: tuple[str, ...] = ()
    parameters: int = 0
    feature_dim: int = 0
    embedding_dim: int = 0
    failure: str = ""


def build_network(cfg: CfgNode, classes: int = 0) -> Network:
    """Builds the network of a config of ours on the meta device, without pretrained weights.

    Args:
        cfg: a config.
        classes: identities, where MODEL.HEADS.NUM_CLASSES is 0.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    if cfg.MODEL.META_ARCHITECTURE == "Distiller":
        # The student, which needs no files of teachers.
        cfg.MODEL.META_ARCHITECTURE = "Baseline"
    cfg.MODEL.BACKBONE.PRETRAIN, cfg.MODEL.BACKBONE.PRETRAIN_PATH = False, ""
    cfg.MODEL.HEADS.NUM_CLASSES = cfg.MODEL.HEADS.NUM_CLASSES or classes
    try:
        with torch.device("meta"), _WithoutValues(), _silent():
            model = build_model(cfg)
    # Parts of projects can do anything with a config, and so fail in any way.
    except Exception as error:
        return Network({}, failure=str(error))
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    parts = dict(model.named_modules())
    heads = [module for name, module in parts.items() if name == "heads" or name.endswith("_head")]
    widths = [getattr(head, "embedding_dim", 0) for head in heads]
    return Network(
        shapes,
        modules=tuple(name for name in parts if name),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        feature_dim=int(getattr(parts.get("backbone"), "feature_dim", 0)),
        embedding_dim=sum(widths) if all(widths) else 0,
    )


class _WithoutValues(TorchFunctionMode):
    """Passes over what only fills weights, of which there are none: half of the time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in ("normal_", "uniform_", "fill_", "zero_") and args:
            return args[0]
        return func(*args, **(kwargs or {}))


@contextmanager
def _silent() -> Iterator[None]:
    """What a network logs of itself, the report says in its own words."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
