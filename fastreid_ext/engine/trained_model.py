"""The model of a checkpoint, for evaluation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml
from torch import nn

from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.checkpoint import config_for, load_weights
from fastreid_ext.utils.logger import get_logger

__all__ = ["own_config", "trained_model"]

# What an evaluation says, whatever the training was: other keys are those of the training.
_OF_EVALUATION = ("TEST", "DATASETS", "DATALOADER", "OUTPUT_DIR", "SEED", "CUDNN_BENCHMARK")
_OF_EVALUATED_MODEL = ("DEVICE", "CHANNELS_LAST", "COMPILE")


def trained_model(cfg: CfgNode, state: Mapping[str, Any], *, source: str) -> nn.Module:
    """The model that a config describes, with the weights of a checkpoint.

    Args:
        cfg: of the model, its projects loaded.
        state: the checkpoint.
        source: its name, for log and errors.

    Raises:
        CheckpointError: the weights do not fit.
        ConfigError: parts do not fit together.
    """
    model = build_model(config_for(cfg, state))
    report = load_weights(model, state, source=source, for_inference=True)
    get_logger(__name__).info(f"{source}: {report}")
    return model


def own_config(cfg: CfgNode, state: Mapping[str, Any], *, source: str) -> CfgNode:
    """The config that a checkpoint was trained with, its projects loaded, and what `cfg` says of the evaluation.

    Args:
        cfg: of the evaluation; all there is for a checkpoint without a config, such as FastReID's.
        state: the checkpoint.
        source: its name, for errors.

    Raises:
        ConfigError: its config cannot be read, or has keys that are not known here.
    """
    if not isinstance(text := state.get("config"), str):
        return cfg
    try:
        saved = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"the config in {source} is not valid YAML: {error}") from error
    if not isinstance(saved, dict):
        raise ConfigError(f"the config in {source} holds no keys and values")
    current = yaml.safe_load(cfg.dump())
    # Keys of the evaluation's projects, too, can stand in its sections.
    names = list(dict.fromkeys([*saved.get("PROJECTS", []), *cfg.PROJECTS]))
    merged = get_cfg(names)
    merged.merge_from_mapping({**saved, "PROJECTS": names}, f"the config in {source}")
    merged.merge_from_mapping({name: current[name] for name in _OF_EVALUATION})
    merged.merge_from_mapping({"MODEL": {name: current["MODEL"][name] for name in _OF_EVALUATED_MODEL}})
    merged.freeze()
    return merged
