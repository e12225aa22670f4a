"""The project's config keys."""

from __future__ import annotations

from fastreid_ext.config import CfgNode

__all__ = ["add_config"]


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.LOSSES.GROUP`, of GroupLoss."""
    # STEPS of refinement; ANCHORS is of an identity in a batch; SIMILARITY says what is done with negative ones: clamp
    # or shift; SPARSE refines over the identities of the batch only.
    cfg.MODEL.LOSSES.GROUP = CfgNode(
        {"TEMPERATURE": 10.0, "ANCHORS": 1, "STEPS": 3, "SIMILARITY": "clamp", "SPARSE": False, "SCALE": 1.0}
    )
