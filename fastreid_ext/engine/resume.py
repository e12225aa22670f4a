"""Which changes of a config a resumed run survives."""

from __future__ import annotations

from typing import Any

import yaml

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.config.changes import below, differences

__all__ = ["check_resumed_config"]

# What the saved weights, optimizer state and place in the stream of batches depend on.
_FIXED = (
    "SEED",
    "PROJECTS",
    "MODEL",
    "DATASETS.NAMES",
    "DATASETS.COMBINEALL",
    "DATALOADER.SAMPLER_TRAIN",
    "DATALOADER.NUM_INSTANCE",
    "SOLVER.OPT",
    "SOLVER.OPT_ARGS",
    "SOLVER.MOMENTUM",
    "SOLVER.NESTEROV",
    "SOLVER.WEIGHT_DECAY",
    "SOLVER.WEIGHT_DECAY_NORM",
    "SOLVER.WEIGHT_DECAY_BIAS",
    "SOLVER.BIAS_LR_FACTOR",
    "SOLVER.HEADS_LR_FACTOR",
    "SOLVER.IMS_PER_BATCH",
    "SOLVER.ACCUMULATION_STEPS",
    "SOLVER.EMA",
    "SOLVER.FIRST_STAGE",
    "KD.TEMPERATURE",
    "KD.EMA",
    "SEARCH",
    "COMPAT.ONE_CHANNEL_NON_LOCAL",
)
_FREE = (
    "MODEL.DEVICE",
    "MODEL.WEIGHTS",
    "MODEL.CHANNELS_LAST",
    "MODEL.COMPILE",
    "MODEL.FREEZE_LAYERS",
    "MODEL.BACKBONE.PRETRAIN",
    "MODEL.BACKBONE.PRETRAIN_PATH",
)


def check_resumed_config(saved: str, cfg: CfgNode) -> list[str]:
    """Compares the config of a checkpoint with that of now.

    Args:
        saved: the checkpoint's config as YAML.
        cfg: that of now.

    Returns:
        A line for each difference that the run survives, such as another output folder or more epochs.

    Raises:
        ConfigError: differences that it does not survive; all are listed.
    """
    # A checkpoint from before a key was there was trained with its default.
    defaults = yaml.safe_load(get_cfg(cfg.PROJECTS).dump())
    changed = differences(_completed(yaml.safe_load(saved), defaults), yaml.safe_load(cfg.dump()))
    lines = {key: f"{key}: {before!r} -> {now!r}" for key, (before, now) in changed.items()}
    fixed = [line for key, line in lines.items() if below(key, _FIXED) and not below(key, _FREE)]
    if fixed:
        raise ConfigError(
            "this run cannot be resumed with a config that changes\n  "
            + "\n  ".join(fixed)
            + "\nStart a new run in another OUTPUT_DIR; MODEL.WEIGHTS takes the checkpoint as its starting point."
        )
    return list(lines.values())


def _completed(saved: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    nodes = {
        key: _completed(saved.get(key, {}), value)
        for key, value in defaults.items()
        if isinstance(value, dict) and isinstance(saved.get(key, {}), dict)
    }
    return {**defaults, **saved, **nodes}
