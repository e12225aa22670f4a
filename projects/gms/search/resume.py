"""Whether a search goes on that was another one."""

from __future__ import annotations

import yaml

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.config.changes import below, differences

__all__ = ["check_same_search"]

# What changes neither a trial's score nor the order of the candidates.
_FREE = (
    "OUTPUT_DIR",
    "MODEL.DEVICE",
    "DATALOADER.STORE",
    "DATALOADER.NUM_WORKERS",
    "DATASETS.ROOT",
    "DATASETS.TESTS",
    "TEST.IMS_PER_BATCH",
    "SOLVER.LOG_PERIOD",
    "SOLVER.CHECKPOINT_PERIOD",
    "SEARCH.LOSS.MAX_EVALUATIONS",
    "SEARCH.LOSS.MAX_HOURS",
    "SEARCH.LOSS.TIME_LIMIT",
    "SEARCH.LOSS.TRAIN_CONFIG",
)


def check_same_search(saved: str, cfg: CfgNode, source: str) -> None:
    """Refuses to mix trials of different tasks in one file.

    Args:
        saved: the config of the file's search, as YAML.
        cfg: that of now.
        source: the file.

    Raises:
        ConfigError: lists what differs.
    """
    changed = differences(yaml.safe_load(saved), yaml.safe_load(cfg.dump()))
    differing = [
        f"{key} was {changed[key][0]}, is {changed[key][1]}" for key in sorted(changed) if not below(key, _FREE)
    ]
    if differing:
        raise ConfigError(
            f"{source} is of another search; resume with its own config, or take another OUTPUT_DIR:\n  - "
            + "\n  - ".join(differing)
        )
