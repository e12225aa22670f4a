"""Our keys in FastReID's config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yacs.config import CfgNode as YacsNode

from fastreid_ext.compat.importing import LOGGER, import_original
from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.config.changes import below

__all__ = ["add_missing_keys", "our_config"]

UNREAD = (
    *("SEED", "INPUT", "DATASETS", "DATALOADER", "SOLVER", "TEST", "MODEL.CHANNELS_LAST", "MODEL.COMPILE"),
    *("TENSORBOARD", "COMPAT.SCHEDULE_AFTER_WARMUP", "COMPAT.RERANK"),
)
"""Nodes and keys that only trainers read; of FastReID's trainer this means the keys that it has itself."""


def add_missing_keys(cfg: Any, projects: Sequence[str]) -> None:
    """Adds every key of ours that a config lacks, with our default; leaves those that it has as they are.

    Args:
        cfg: FastReID's, or any other of yacs; its nodes' class is kept.
        projects: whose keys are added, too.

    Raises:
        ConfigError: the config is frozen, or has a section where we have a value or the other way round.
    """
    _add(cfg, get_cfg(projects), "")
    listed = list(dict.fromkeys([*cfg.PROJECTS, *projects]))
    if listed != list(cfg.PROJECTS):
        _check_open(cfg, "PROJECTS")
        cfg.PROJECTS = listed


def our_config(cfg: Any) -> Any:
    """A copy of FastReID's config for our parts, which may be changed.

    Keys of ours that FastReID's trainer does not read have our defaults there, and a warning names those that had not.

    Raises:
        ConfigError: keys of ours are missing.
    """
    theirs = set(_leaves(import_original("fastreid.config").get_cfg()))
    unread = []
    made = cfg.clone()
    made.defrost()
    for key, default in get_cfg(getattr(cfg, "PROJECTS", ())).leaves():
        *path, name = key.split(".")
        node = _node(made, path, key)
        if key not in theirs and below(key, UNREAD) and node[name] != default:
            unread.append(key)
            node[name] = default
    if unread:
        LOGGER.warning(f"FastReID's trainer does not read {', '.join(unread)}: they change nothing")
    return made


def _add(node: Any, ours: CfgNode, prefix: str) -> None:
    for name, value in ours.items():
        key = f"{prefix}{name}"
        if name not in node:
            _check_open(node, key)
            node[name] = type(node)(_plain(value)) if isinstance(value, CfgNode) else value
        elif isinstance(value, CfgNode) != isinstance(node[name], YacsNode):
            raise ConfigError(
                f"{key} is a {_kind(node[name])} of FastReID's config, but a {_kind(value)} of fastreid_ext's: "
                f"they cannot be used together"
            )
        elif isinstance(value, CfgNode):
            _add(node[name], value, f"{key}.")


def _check_open(node: Any, key: str) -> None:
    if node.is_frozen():
        raise ConfigError(f"the config is frozen, and {key} is to be added: call register before cfg.freeze()")


def _kind(value: Any) -> str:
    return "section" if isinstance(value, YacsNode) else "value"


def _plain(node: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, Mapping) else value for name, value in node.items()}


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _node(cfg: Any, path: Sequence[str], key: str) -> Any:
    root, name = cfg, key.rpartition(".")[2]
    for part in path:
        cfg = cfg.get(part, {})
    if name not in cfg:
        raise ConfigError(
            f"the config has no {key}: call fastreid_ext.compat.fastreid.register(cfg, <projects>) with all of "
            f"PROJECTS, {', '.join(getattr(root, 'PROJECTS', ())) or 'none so far'}, before any file is merged"
        )
    return cfg
