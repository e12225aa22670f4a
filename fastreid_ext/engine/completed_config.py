"""What a config leaves to the training data."""

from __future__ import annotations

from fastreid_ext.config import AUTO, CfgNode, ConfigError
from fastreid_ext.data.build import TrainData
from fastreid_ext.solver import with_automatic_rate
from fastreid_ext.utils.logger import get_logger

__all__ = ["completed_config"]


def completed_config(cfg: CfgNode, data: TrainData) -> CfgNode:
    """The config with what follows from the data: number of classes, and the learning rate where it is automatic.

    Raises:
        ConfigError: the number of classes contradicts the data.
    """
    images = len(data.samples)
    completed = with_automatic_rate(_with_classes(cfg, data.num_classes), images)
    if cfg.SOLVER.BASE_LR == AUTO:
        get_logger(__name__).info(
            f"SOLVER.BASE_LR auto is {completed.SOLVER.BASE_LR:.4g} for {images:,} training images and "
            f"{cfg.SOLVER.IMS_PER_BATCH} of them a step; the rule was found with SGD"
        )
    return completed


def _with_classes(cfg: CfgNode, num_classes: int) -> CfgNode:
    configured = cfg.MODEL.HEADS.NUM_CLASSES
    if configured not in (0, num_classes):
        raise ConfigError(
            f"MODEL.HEADS.NUM_CLASSES is {configured}, but the training data have {num_classes} identities. The "
            f"config.yaml of a run names the number of its own data: add MODEL.HEADS.NUM_CLASSES 0 to the command, or "
            f"take the line out of the file, and the number is theirs"
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.NUM_CLASSES = num_classes
    cfg.freeze()
    return cfg
