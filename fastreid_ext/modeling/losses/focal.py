"""Focal loss over identities."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses.base import ClassificationLoss, check_inputs
from fastreid_ext.modeling.losses.registry import LOSSES

__all__ = ["FocalLoss"]


@LOSSES.register(source="Lin et al. 2017, arXiv:1708.02002, eq. 5")
class FocalLoss(ClassificationLoss):
    """Cross-entropy that fades for samples that are classified well: `-alpha (1 - p)^gamma log p`.

    p is the softmax probability of the true class.

    Raises:
        ValueError: `gamma` is negative.
    """

    key = "focal"
    node = "FL"

    @configurable
    def __init__(self, *, alpha: float = 0.25, gamma: float = 2.0) -> None:
        super().__init__()
        if gamma < 0:
            raise ValueError(f"the focusing exponent gamma cannot be negative: {gamma}")
        self.alpha = alpha
        self.gamma = gamma

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.FL`."""
        node = cfg.MODEL.LOSSES.FL
        return {"alpha": node.ALPHA, "gamma": node.GAMMA}

    def forward(self, logits: Tensor, pids: Tensor) -> Tensor:
        """Mean over samples.

        Shape:
            logits: (B, C). pids: (B,), in [0, C).
            Result: scalar.
        """
        check_inputs(logits, pids)
        log_probability = widen(logits).log_softmax(1).gather(1, pids[:, None])
        # A power below one has no derivative at zero, where p rounds to one.
        remainder = (-log_probability.expm1()).clamp_min(torch.finfo(log_probability.dtype).tiny)
        losses = -self.alpha * remainder**self.gamma * log_probability
        return losses.sum() / max(1, len(losses))
