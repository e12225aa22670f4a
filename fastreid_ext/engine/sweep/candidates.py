"""The runs of a sweep as a search has them: JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.config.changes import below, differences, nested_changes
from fastreid_ext.config.checks import check
from fastreid_ext.search.protocols import Json

__all__ = ["as_candidate", "changed_keys", "config_from", "identity", "run_folder", "stored_config"]

# What may differ between two parts of a sweep, as it does not change a run's figures.
_FREE = (
    "MODEL.DEVICE",
    "DATALOADER.STORE",
    "DATALOADER.STORE_DIR",
    "DATALOADER.NUM_WORKERS",
    "DATASETS.ROOT",
    "SOLVER.LOG_PERIOD",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.IMS_PER_BATCH",
)


def stored_config(cfg: CfgNode) -> Json:
    """The keys that differ from the defaults, without those that a run sets for itself."""
    changes = nested_changes(cfg)
    return {key: value for key, value in changes.items() if key not in ("OUTPUT_DIR", "SEED")}


def as_candidate(setting: str, seed: int, config: Json) -> Json:
    """A run: the name of its setting, its seed, and its config from `stored_config`."""
    return {"setting": setting, "seed": seed, "config": {**config, "SEED": seed}}


def config_from(config: Mapping[str, Any], **more: Any) -> CfgNode:
    """A frozen config again, with `more` keys of its top level.

    Raises:
        ConfigError: keys or values that this version does not have.
    """
    cfg = get_cfg(config.get("PROJECTS", []))
    cfg.merge_from_mapping({**config, **more}, "the sweep")
    check(cfg)
    cfg.freeze()
    return cfg


def identity(candidate: Json) -> str:
    """What runs share that come to the same figures, whatever their settings are called."""
    changes = differences({}, candidate["config"])
    return json.dumps({key: now for key, (_, now) in changes.items() if not below(key, _FREE)}, sort_keys=True)


def changed_keys(before: Json, now: Json) -> list[str]:
    """A line for each key by which two runs come to different figures."""
    changed = differences(before["config"], now["config"])
    return [f"{key} was {_said(old)}, is {_said(new)}" for key, (old, new) in changed.items() if not below(key, _FREE)]


def run_folder(folder: Path, candidate: Json) -> Path:
    """Where a run of a sweep has its files."""
    return folder / "runs" / str(candidate["setting"]) / f"seed{candidate['seed']}"


def _said(value: Any) -> str:
    return "the default" if value is None else repr(value)
