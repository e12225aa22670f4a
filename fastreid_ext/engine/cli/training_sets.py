"""What a checkpoint was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.data.datasets import DatasetError, ReIDDataset, build_dataset
from fastreid_ext.registry import RegistryError
from fastreid_ext.utils.logger import get_logger

__all__ = ["training_sets"]


def training_sets(cfg: CfgNode, state: Mapping[str, Any], tests: Sequence[ReIDDataset]) -> list[ReIDDataset | str]:
    """The training sets of a checkpoint, bare specs where their files are not at hand or are not needed.

    Args:
        cfg: of the evaluation; its `DATASETS.NAMES` stand in for those of a checkpoint without a config.
        state: the checkpoint.
        tests: the test sets.
    """
    names = _names(state) or list(cfg.DATASETS.NAMES)
    if all(dataset.spec in names for dataset in tests):
        return list(names)
    return [_set_or_spec(name, cfg.DATASETS.ROOT, tests) for name in names]


def _names(state: Mapping[str, Any]) -> list[str]:
    try:
        return [str(name) for name in yaml.safe_load(state["config"])["DATASETS"]["NAMES"]]
    except (KeyError, TypeError, AttributeError, yaml.YAMLError):
        # Another program's checkpoint.
        return []


def _set_or_spec(spec: str, root: str, tests: Sequence[ReIDDataset]) -> ReIDDataset | str:
    known = {dataset.spec: dataset for dataset in tests}
    if spec in known:
        return known[spec]
    try:
        return build_dataset(spec, root, strict=False)
    except (ConfigError, DatasetError, RegistryError, OSError, ValueError) as error:
        get_logger(__name__).info(
            f"trained on {spec}, which is not at hand: test sets of other names count as another domain "
            f"({str(error).splitlines()[0]})"
        )
        return spec
