"""The base learning rate that fits the size of the data."""

from __future__ import annotations

from math import log

from fastreid_ext.config import AUTO, CfgNode

__all__ = ["automatic_rate", "rate_of_data_size", "with_automatic_rate"]

_BATCH = 256
"""Images of a step for which the rule holds as it is."""


def rate_of_data_size(images: int) -> float:
    """`0.02 (log s - log 4e3) / (log 3e5 - log 4e3)` of s images, at least 0.001.

    Found with SGD and batches of 256 images: it rises with the logarithm of the size.

    Source: Lee et al. 2022 (MoReID), eq. 4.
    """
    return max(1e-3, 0.02 * log(max(1, images) / 4e3) / log(3e5 / 4e3))


def automatic_rate(cfg: CfgNode, images: int) -> float:
    """What `SOLVER.BASE_LR` auto means: `rate_of_data_size`, in proportion to the images of a step.

    Args:
        cfg: has the images of a step, `SOLVER.IMS_PER_BATCH`.
        images: of the training data.
    """
    return rate_of_data_size(images) * float(cfg.SOLVER.IMS_PER_BATCH) / _BATCH


def with_automatic_rate(cfg: CfgNode, images: int) -> CfgNode:
    """A frozen copy of a config whose `SOLVER.BASE_LR` is a number.

    Args:
        cfg: a config, whose rate may be auto.
        images: of the training data.
    """
    cfg = cfg.clone()
    cfg.defrost()
    if cfg.SOLVER.BASE_LR == AUTO:
        cfg.SOLVER.BASE_LR = automatic_rate(cfg, images)
    cfg.freeze()
    return cfg
