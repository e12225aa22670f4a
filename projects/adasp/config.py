"""The project's config keys."""

from __future__ import annotations

from fastreid_ext.config import CfgNode

__all__ = ["add_config"]


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.LOSSES.ADASP`, of AdaSPLoss, SPHLoss and SPLHLoss."""
    # KIND is the positive similarity of AdaSPLoss: adasp, sp-h (the hardest) or sp-lh (the least hard).
    cfg.MODEL.LOSSES.ADASP = CfgNode({"TEMPERATURE": 0.04, "KIND": "adasp", "SCALE": 1.0})
