"""Mistakes in the options of a search are told before any data are read."""

from __future__ import annotations

from collections.abc import Iterator

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.projects.msinet.interactions import INTERACTIONS
from fastreid_ext.projects.msinet.search.split import check_ratio
from fastreid_ext.projects.msinet.search.supervision import SUPERVISIONS
from fastreid_ext.registry import close_matches

__all__ = ["check_search"]


def check_search(cfg: CfgNode) -> None:
    """Refuses a config with which `TwinsContrastiveSearch` could not work.

    Raises:
        ConfigError: lists every fault that was found.
    """
    faults = [*_parts(cfg), *_choices(cfg), *_numbers(cfg)]
    try:
        check_ratio(cfg.SEARCH.ARCH.SPLIT)
    except ConfigError as error:
        faults.append(str(error))
    if faults:
        raise ConfigError("the search cannot work with this config:\n  - " + "\n  - ".join(faults))


def _parts(cfg: CfgNode) -> Iterator[str]:
    for key, given, needed in (
        ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, "SearchNetwork"),
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, "MSISupernet"),
    ):
        if given != needed:
            yield f"{key} is {given}, the search needs {needed}: is this a config for tools/train_net.py?"
    if cfg.SOLVER.EMA.ENABLED:
        yield "SOLVER.EMA.ENABLED averages weights, but the genotype is read from the last ones: turn it off"
    if cfg.MODEL.FREEZE_LAYERS and cfg.SOLVER.FREEZE_ITERS > 0:
        yield "MODEL.FREEZE_LAYERS fixes weights, but not the architecture that learns from them: empty it"


def _choices(cfg: CfgNode) -> Iterator[str]:
    node = cfg.SEARCH.ARCH
    if node.SUPERVISION not in SUPERVISIONS:
        yield f"SEARCH.ARCH.SUPERVISION is {node.SUPERVISION!r}; choose one of {', '.join(SUPERVISIONS)}"
    if node.SUPERVISION == "softmax" and list(node.SPLIT) != [100, 100]:
        yield (
            f"SEARCH.ARCH.SUPERVISION softmax has one classifier for both splits: set SEARCH.ARCH.SPLIT to [100, 100] "
            f"instead of {list(node.SPLIT)}, or SUPERVISION to tcm"
        )
    letters = list(node.OPERATIONS)
    for letter in letters:
        if letter not in INTERACTIONS:
            hint = "".join(f" Did you mean {match}?" for match in close_matches(str(letter), INTERACTIONS.names(), 1))
            yield f"SEARCH.ARCH.OPERATIONS has {letter!r}, which is no interaction.{hint} {_known()}"
    if letters and len(set(letters)) < max(2, len(letters)):
        yield f"SEARCH.ARCH.OPERATIONS {letters} leaves no choice: name two letters or more, or none. {_known()}"


def _numbers(cfg: CfgNode) -> Iterator[str]:
    node = cfg.SEARCH.ARCH
    if len(node.BETAS) != 2 or not all(isinstance(beta, (int, float)) and 0 <= beta < 1 for beta in node.BETAS):
        yield f"SEARCH.ARCH.BETAS is {list(node.BETAS)}; it takes two numbers from 0 to below 1"
    for key, value, fits, needed in (
        ("BASE_LR", node.BASE_LR, node.BASE_LR > 0, "above 0"),
        ("WEIGHT_DECAY", node.WEIGHT_DECAY, node.WEIGHT_DECAY >= 0, "not below 0"),
        ("TEMPERATURE", node.TEMPERATURE, node.TEMPERATURE > 0, "above 0"),
        ("MEMORY_MOMENTUM", node.MEMORY_MOMENTUM, 0 <= node.MEMORY_MOMENTUM <= 1, "from 0 to 1"),
    ):
        if not fits:
            yield f"SEARCH.ARCH.{key} is {value}; it must be {needed}"


def _known() -> str:
    return f"Registered: {', '.join(INTERACTIONS.names())}"
