"""InfoNCE with one or several positives."""

from __future__ import annotations

from math import inf
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.distances import cosine_distance
from fastreid_ext.functional.keys import Keys
from fastreid_ext.functional.pairs import masked_logsumexp, masked_mean
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses import LOSSES, KeyedLoss
from fastreid_ext.projects.moreid.peers.hardest import hardest_logsumexp, hardest_positive

__all__ = ["Form", "InfoNCELoss"]

Form = Literal["single", "in", "out"]


@LOSSES.register(source="Lee et al. 2022 (MoReID), eqs. 5-7; several positives: Khosla et al. 2020, arXiv:2004.11362")
class InfoNCELoss(KeyedLoss):
    """Cross-entropy of picking a query's positives among all of its positives and negatives, by cosine.

    With s the cosine over the temperature, and each ratio `exp(s_p) / sum_k exp(s_k)` over the query's positives and
    negatives k, a query's loss is

    - "single" (eq. 5): -log of the ratio of its positive; of several positives, the hardest,
    - "in" (eq. 6): -log of the sum of its positives' ratios,
    - "out" (eq. 7): the sum over its positives of -log of the ratio. The paper sums where Khosla et al. average, so
      that it grows with the number of positives.

    Queries without a positive or without a negative do not count.

    Args:
        temperature: tau.
        form: "single", "in" or "out".
        num_negatives: how many of the hardest negatives enter the sum over k, beside all positives (hard mining; the
            paper takes 15); all where there are fewer, and for 0.

    Raises:
        ValueError: the temperature is not positive, the form unknown, or `num_negatives` negative.
    """

    key = "info_nce"
    node = "INFO_NCE"

    @configurable
    def __init__(self, *, temperature: float = 0.07, form: Form = "out", num_negatives: int = 0) -> None:
        super().__init__()
        node = "MODEL.LOSSES.INFO_NCE"
        if not 0 < temperature < inf:
            raise ValueError(f"{node}.TEMPERATURE is {temperature}; it must be above 0 and finite")
        if form not in get_args(Form):
            raise ValueError(f"unknown form '{form}' in {node}.FORM: choose one of {', '.join(get_args(Form))}")
        if num_negatives < 0:
            raise ValueError(f"{node}.NUM_NEGATIVES is {num_negatives}; it must be positive, or 0 for all negatives")
        self.temperature = temperature
        self.form = form
        self.num_negatives = num_negatives

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.INFO_NCE`."""
        node = cfg.MODEL.LOSSES.INFO_NCE
        return {"temperature": node.TEMPERATURE, "form": node.FORM, "num_negatives": node.NUM_NEGATIVES}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over queries; 0 when none has both a positive and a negative.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        if not keys.positive.numel():
            return widen(queries)[:0].sum()
        logits = (1 - cosine_distance(queries, keys.features)) / self.temperature
        of_positives = masked_logsumexp(logits, keys.positive)
        of_negatives = hardest_logsumexp(logits, keys.negative, self.num_negatives)
        if self.form == "in":
            losses = softplus(of_negatives - of_positives)
        elif self.form == "single":
            losses = of_positives.logaddexp(of_negatives) - hardest_positive(logits, keys.positive)
        else:
            of_all = of_positives.logaddexp(of_negatives)[:, None]
            losses = torch.where(keys.positive, of_all - logits, 0).sum(1)
        return masked_mean(losses, keys.positive.any(1) & keys.negative.any(1))

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return f"temperature={self.temperature}, form={self.form!r}, num_negatives={self.num_negatives}"
