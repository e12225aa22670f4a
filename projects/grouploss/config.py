"""The project's config keys."""

from __future__ import annotations

from fastreid_ext.config import CfgNode

__all__ = ["add_config"]


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.LOSSES.GROUP`."""
    # Of GroupLoss.
    node = cfg.MODEL.LOSSES.GROUP = CfgNode()
    # By which logits are divided for the softmax that the refinement starts from.
    node.TEMPERATURE = 10.0
    # Images of an identity in a batch that are labelled in the refinement; at least one other is needed.
    node.ANCHORS = 1
    # Of the refinement; 0 for the cross entropy of logits / TEMPERATURE.
    node.STEPS = 3
    # What is done with negative correlations: clamp makes them 0, shift subtracts the lowest.
    node.SIMILARITY = "clamp"
    # Refine over the identities of the batch only.
    node.SPARSE = False
    # Weight of the loss.
    node.SCALE = 1.0
