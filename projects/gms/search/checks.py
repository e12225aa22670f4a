"""Mistakes in the options of a search are told before any data are read."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.projects.gms.space import LossSpace

__all__ = ["SPACE_KEYS", "build_space", "check_search"]

SPACE_KEYS = {
    "num_constants": "NUM_CONSTANTS",
    "max_operations": "MAX_OPERATIONS",
    "exact": "EXACT",
    "scale_step": "SCALE_STEP",
    "scale_steps": "SCALE_STEPS",
    "constant_step": "CONSTANT_STEP",
    "constant_steps": "CONSTANT_STEPS",
    "cross_probability": "CROSS_PROB",
    "copy_probability": "COPY_PROB",
    "reinit_probability": "REINIT_PROB",
    "max_mutations": "MAX_MUTATIONS",
}
"""Arguments of `LossSpace`, and the keys of `SEARCH.LOSS` that they come from."""


def build_space(cfg: CfgNode) -> LossSpace:
    """The space that `SEARCH.LOSS` describes.

    Raises:
        ConfigError: a value is out of its range.
    """
    node = cfg.SEARCH.LOSS
    try:
        return LossSpace(**{argument: node[key] for argument, key in SPACE_KEYS.items()})
    except ValueError as error:
        keys = re.sub(r"\w+", lambda word: _key(word.group()), str(error))
        raise ConfigError(keys) from error


def _key(word: str) -> str:
    return f"SEARCH.LOSS.{SPACE_KEYS[word]}" if word in SPACE_KEYS else word


def check_search(cfg: CfgNode) -> None:
    """Refuses a config with which the search could not work.

    Raises:
        ConfigError: lists every fault that was found.
    """
    faults = [*_numbers(cfg), *_parts(cfg)]
    try:
        build_space(cfg)
    except ConfigError as error:
        faults.append(str(error))
    if faults:
        raise ConfigError("the search cannot work with this config:\n  - " + "\n  - ".join(faults))


def _numbers(cfg: CfgNode) -> Iterator[str]:
    node, predictor = cfg.SEARCH.LOSS, cfg.SEARCH.LOSS.PREDICTOR
    for key, value, fits, needed in (
        ("NUM_INITIAL", node.NUM_INITIAL, node.NUM_INITIAL >= 1, "at least 1"),
        ("POPULATION", node.POPULATION, node.POPULATION >= 1, "at least 1"),
        ("TOURNAMENT", node.TOURNAMENT, 0 < node.TOURNAMENT <= 1, "above 0 and at most 1"),
        ("MAX_EVALUATIONS", node.MAX_EVALUATIONS, node.MAX_EVALUATIONS >= 1, "at least 1"),
        ("MAX_HOURS", node.MAX_HOURS, node.MAX_HOURS >= 0, "not below 0"),
        ("POINTS", node.POINTS, node.POINTS >= 9, "at least 9"),
        ("DIGITS", node.DIGITS, 1 <= node.DIGITS <= 15, "from 1 to 15"),
        ("PROPERTY_SHARE", node.PROPERTY_SHARE, 0 <= node.PROPERTY_SHARE <= 1, "from 0 to 1"),
        ("TOY_ACCURACY", node.TOY_ACCURACY, 0 <= node.TOY_ACCURACY <= 1, "from 0 to 1"),
        ("TOY_BATCH", node.TOY_BATCH, node.TOY_BATCH >= 16, "at least 16"),
        ("TRAIN_SHARE", node.TRAIN_SHARE, 0 < node.TRAIN_SHARE < 1, "above 0 and below 1"),
        ("TIME_LIMIT", node.TIME_LIMIT, node.TIME_LIMIT >= 0, "not below 0"),
        ("PREDICTOR.START", predictor.START, predictor.START >= 2, "at least 2"),
        ("PREDICTOR.INTERVAL", predictor.INTERVAL, predictor.INTERVAL >= 1, "at least 1"),
        ("PREDICTOR.CANDIDATES", predictor.CANDIDATES, predictor.CANDIDATES >= 1, "at least 1"),
        ("PREDICTOR.EPOCHS", predictor.EPOCHS, predictor.EPOCHS >= 1, "at least 1"),
        ("PREDICTOR.BASE_LR", predictor.BASE_LR, predictor.BASE_LR > 0, "above 0"),
        ("PREDICTOR.BATCH", predictor.BATCH, predictor.BATCH >= 2, "at least 2"),
        ("PREDICTOR.RANKING_WEIGHT", predictor.RANKING_WEIGHT, predictor.RANKING_WEIGHT >= 0, "not below 0"),
        ("PREDICTOR.TEMPERATURE", predictor.TEMPERATURE, predictor.TEMPERATURE > 0, "above 0"),
    ):
        if not fits:
            yield f"SEARCH.LOSS.{key} is {value}; it must be {needed}"


def _parts(cfg: CfgNode) -> Iterator[str]:
    if "CrossEntropyLoss" not in cfg.MODEL.LOSSES.NAME:
        yield (
            f"MODEL.LOSSES.NAME is {tuple(cfg.MODEL.LOSSES.NAME)}: what is searched for are the logits of "
            f"CrossEntropyLoss, so that it must be among them"
        )
    if cfg.SOLVER.EMA.ENABLED or cfg.TEST.PRECISE_BN.ENABLED:
        yield "SOLVER.EMA and TEST.PRECISE_BN are no part of the proxy task: turn them off"
    try:
        load_config(cfg.SEARCH.LOSS.TRAIN_CONFIG, ["PROJECTS", list(cfg.PROJECTS)])
    except ConfigError as error:
        yield f"SEARCH.LOSS.TRAIN_CONFIG cannot be used: {error}"
