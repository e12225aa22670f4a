"""Cross-entropy over identities."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses.base import ClassificationLoss, check_inputs
from fastreid_ext.modeling.losses.registry import LOSSES

__all__ = ["CrossEntropyLoss"]


@LOSSES.register(source="label smoothing: Szegedy et al. 2016, arXiv:1512.00567")
class CrossEntropyLoss(ClassificationLoss):
    """Cross-entropy with label smoothing, fixed or by the sample's own confidence.

    The true class gets the target `1 - epsilon`, each of the others `epsilon / (C - 1)`. With epsilon -1, the epsilon
    of a sample is `alpha` times the probability that it gives to its true class, taken as a constant.

    Raises:
        ValueError: `epsilon` is neither -1 nor in [0, 1).
    """

    key = "cls"
    node = "CE"

    @configurable
    def __init__(self, *, epsilon: float = 0.0, alpha: float = 0.2) -> None:
        super().__init__()
        if epsilon != -1 and not 0 <= epsilon < 1:
            raise ValueError(f"label smoothing is in [0, 1), or -1 for adaptive smoothing, not {epsilon}")
        self.epsilon = epsilon
        self.alpha = alpha

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.CE`."""
        node = cfg.MODEL.LOSSES.CE
        return {"epsilon": node.EPSILON, "alpha": node.ALPHA}

    def forward(self, logits: Tensor, pids: Tensor) -> Tensor:
        """Mean over samples.

        Shape:
            logits: (B, C). pids: (B,), in [0, C).
            Result: scalar.
        """
        check_inputs(logits, pids)
        log_probabilities = widen(logits).log_softmax(1)
        of_true = log_probabilities.gather(1, pids[:, None]).squeeze(1)
        of_others = log_probabilities.sum(1) - of_true
        epsilon = self.alpha * of_true.detach().exp() if self.epsilon == -1 else self.epsilon
        losses = (epsilon - 1) * of_true - epsilon / max(1, logits.shape[1] - 1) * of_others
        return losses.sum() / max(1, len(losses))
