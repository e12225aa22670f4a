"""Configs and losses with which MoReID could not train are refused before anything is built."""

from __future__ import annotations

from torch import nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.modeling.losses import Criterion, KeyedLoss
from fastreid_ext.projects.moreid.momentum_encoder import SCHEDULES
from fastreid_ext.registry import close_matches
from fastreid_ext.utils.logger import get_logger

__all__ = ["check_config", "check_losses"]


def check_config(cfg: CfgNode) -> None:
    """Refuses a config with which the dictionary would be of no use.

    Raises:
        ConfigError: names the keys and what to do.
    """
    node = cfg.MODEL.MOREID
    batch = cfg.SOLVER.IMS_PER_BATCH // cfg.SOLVER.ACCUMULATION_STEPS
    if batch > node.DICTIONARY_SIZE:
        raise ConfigError(
            f"MODEL.MOREID.DICTIONARY_SIZE {node.DICTIONARY_SIZE} is smaller than a batch of {batch} images "
            f"(SOLVER.IMS_PER_BATCH / SOLVER.ACCUMULATION_STEPS): make it at least that; the paper's holds 32 batches"
        )
    if not 0 <= node.MOMENTUM <= 1:
        raise ConfigError(f"MODEL.MOREID.MOMENTUM is {node.MOMENTUM}; it must be between 0 and 1")
    if node.MOMENTUM_SCHEDULE not in SCHEDULES:
        matches = close_matches(node.MOMENTUM_SCHEDULE, SCHEDULES)
        hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
        raise ConfigError(
            f"MODEL.MOREID.MOMENTUM_SCHEDULE is {node.MOMENTUM_SCHEDULE!r}; choose one of {', '.join(SCHEDULES)}.{hint}"
        )
    if node.PAST_POSITIVES:
        return
    if cfg.DATALOADER.SAMPLER_TRAIN == "TrainingSampler":
        get_logger(__name__).warning(
            "DATALOADER.SAMPLER_TRAIN TrainingSampler draws images whoever is on them: most will have no positive in "
            "their batch, and a small loss says little. Take NaiveIdentitySampler, or MODEL.MOREID.PAST_POSITIVES True"
        )
    elif cfg.DATALOADER.NUM_INSTANCE < 2:
        raise ConfigError(
            "DATALOADER.NUM_INSTANCE is 1: no image of a batch has a positive, which MoReID takes from the batch. "
            "Make it at least 2 (the paper has 16), or set MODEL.MOREID.PAST_POSITIVES True"
        )


def check_losses(criterion: nn.Module | None) -> None:
    """Refuses losses of which none would look at the dictionary.

    Raises:
        ConfigError: no loss of the criterion takes keys.
    """
    if not isinstance(criterion, Criterion):
        return
    losses = list(criterion.losses.values())
    if not any(isinstance(loss, KeyedLoss) for loss in losses):
        raise ConfigError(
            f"none of MODEL.LOSSES.NAME ({', '.join(type(loss).__name__ for loss in losses)}) compares images with the "
            f"dictionary of MoReID: add HardDistanceElasticLoss, or another KeyedLoss such as TripletLoss"
        )
