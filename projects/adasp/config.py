"""The project's config keys."""

from __future__ import annotations

from fastreid_ext.config import CfgNode

__all__ = ["add_config"]


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.LOSSES.ADASP`."""
    # Of AdaSPLoss, SPHLoss and SPLHLoss.
    node = cfg.MODEL.LOSSES.ADASP = CfgNode()
    # By which cosines are divided (tau).
    node.TEMPERATURE = 0.04
    # Positive similarity of AdaSPLoss: adasp, sp-h (the hardest) or sp-lh (the least hard).
    node.KIND = "adasp"
    # Weight of the loss (lambda).
    node.SCALE = 1.0
