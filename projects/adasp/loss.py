"""Sparse pair-wise losses: one positive and one negative similarity an identity."""

from __future__ import annotations

from math import inf
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.distances import normalize
from fastreid_ext.functional.gram import gram_matrix
from fastreid_ext.functional.grouped import first_of_each, grouped_logsumexp
from fastreid_ext.functional.opposed import opposed_logsumexp
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses import LOSSES, PairwiseLoss
from fastreid_ext.modeling.losses.base import check_inputs

__all__ = ["AdaSPLoss", "Kind", "SPHLoss", "SPLHLoss"]

Kind = Literal["adasp", "sp-h", "sp-lh"]


@LOSSES.register(source="Zhou et al. 2023 (AdaSP)")
class AdaSPLoss(PairwiseLoss):
    """Adaptive sparse pair-wise loss on cosines: each identity has one positive and one negative similarity.

    Of an identity i with images I_i, itself included, and temperature tau:

    - hardest positive `S_i^h = -tau LSE_{a, b in I_i}(-s_ab / tau)`,
    - least-hard positive `S_i^lh = tau LSE_{a in I_i}(-LSE_{b in I_i}(-s_ab / tau))`,
    - the positive that kind "adasp" takes, `alpha_i S_i^h + (1 - alpha_i) S_i^lh`, where alpha_i is the harmonic mean
      of the two and has no gradient, or 0 where S_i^h is negative,
    - negative `S_i^- = tau LSE_{a in I_i, b not in I_i}(s_ab / tau)`,

    and the loss is the mean over identities of `softplus((S_i^- - S_i^+) / tau)`. Identities come in any order and
    number; all is done in logarithms, in float32 or wider, so that small temperatures do not overflow. Time and memory
    grow with B^2.

    Args:
        temperature: tau; the paper has 0.04 for people, 0.05 for vehicles.
        kind: the positive similarity: "adasp", "sp-h" (the hardest) or "sp-lh" (the least hard).

    Raises:
        ValueError: the temperature is not positive, or the kind unknown.
    """

    key = "adasp"
    node = "ADASP"

    @configurable
    def __init__(self, *, temperature: float = 0.04, kind: Kind = "adasp") -> None:
        super().__init__()
        if not 0 < temperature < inf:
            raise ValueError(f"the temperature of AdaSP is {temperature}; it must be above 0 and finite")
        if kind not in get_args(Kind):
            raise ValueError(f"unknown kind '{kind}' of AdaSP: choose one of {', '.join(get_args(Kind))}")
        self.temperature = temperature
        self.kind = kind

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.ADASP`."""
        node = cfg.MODEL.LOSSES.ADASP
        return {"temperature": node.TEMPERATURE, "kind": node.KIND}

    def forward(self, embeddings: Tensor, pids: Tensor) -> Tensor:
        """Mean over identities; 0 when there is only one, or none.

        Shape:
            embeddings: (B, D), not necessarily of length 1. pids: (B,).
            Result: scalar.
        """
        check_inputs(embeddings, pids)
        embeddings = widen(embeddings)
        if not len(embeddings):
            return embeddings.sum()
        same = pids[:, None] == pids
        groups = first_of_each(same)
        with torch.autocast(embeddings.device.type, enabled=False):
            scaled = gram_matrix(normalize(embeddings)) / self.temperature
        of_positives, of_negatives = opposed_logsumexp(scaled, same)
        hardest, least_hard = -grouped_logsumexp(of_positives, groups), grouped_logsumexp(-of_positives, groups)
        negative = grouped_logsumexp(of_negatives, groups)
        # softplus, which torch rounds to the identity above 20.
        losses = -logsigmoid(self._positive(hardest, least_hard) - negative)
        # An identity's values are at the place of its first image.
        is_first = groups == torch.arange(len(groups), device=groups.device)
        return torch.where(is_first, losses, 0).sum() / is_first.sum()

    def _positive(self, hardest: Tensor, least_hard: Tensor) -> Tensor:
        if self.kind != "adasp":
            return hardest if self.kind == "sp-h" else least_hard
        hard, least = hardest.detach() * self.temperature, least_hard.detach() * self.temperature
        # Where hard is positive, least is, too: it is not below.
        weight = torch.where(hard > 0, 2 * hard * least / (hard + least), 0)
        return weight * hardest + (1 - weight) * least_hard

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return f"temperature={self.temperature}, kind={self.kind!r}"


@LOSSES.register(source="Zhou et al. 2023 (AdaSP): SP-H")
class SPHLoss(AdaSPLoss):
    """`AdaSPLoss` of kind "sp-h": the positive is the hardest pair of the identity."""

    key = "sp_h"

    @configurable
    def __init__(self, *, temperature: float = 0.04) -> None:
        super().__init__(temperature=temperature, kind="sp-h")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.ADASP`, whose `KIND` does not matter."""
        return {"temperature": cfg.MODEL.LOSSES.ADASP.TEMPERATURE}


@LOSSES.register(source="Zhou et al. 2023 (AdaSP): SP-LH")
class SPLHLoss(AdaSPLoss):
    """`AdaSPLoss` of kind "sp-lh": the positive is the least hard of the images' hardest pairs."""

    key = "sp_lh"

    @configurable
    def __init__(self, *, temperature: float = 0.04) -> None:
        super().__init__(temperature=temperature, kind="sp-lh")

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.ADASP`, whose `KIND` does not matter."""
        return {"temperature": cfg.MODEL.LOSSES.ADASP.TEMPERATURE}
