"""The searched loss on pairs."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import softplus

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.distances import cosine_distance
from fastreid_ext.functional.keys import Keys
from fastreid_ext.functional.pairs import masked_logsumexp, masked_mean
from fastreid_ext.modeling.losses import LOSSES, KeyedLoss
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.compile import compiled_function
from fastreid_ext.projects.gms.from_config import configured_loss
from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.presets import PRESETS, as_graph

__all__ = ["GMSPairwiseLoss"]


@LOSSES.register(source="Gu et al. 2022 (AutoLoss-GMS), eq. 20")
class GMSPairwiseLoss(KeyedLoss):
    """Circle loss on pairs with any t and n: log(1 + sum exp(s n(S_n)) sum exp(-s t(S_p))).

    Anchors without a positive or without a negative do not count. Without arguments it is the loss of section K.

    Args:
        target: t, of the cosines S_p of positive pairs, as a text or a graph.
        nontarget: n, of the cosines S_n of negative pairs.
        log2_scale: logarithm of the scale s to the base 2.

    Raises:
        ParseError: a text is no expression.
        GraphError: the scale is out of range.
    """

    key = "gms"
    node = "GMS"

    @configurable
    def __init__(
        self,
        *,
        target: str | Graph = PRESETS["gms-pair"].target,
        nontarget: str | Graph = PRESETS["gms-pair"].nontarget,
        log2_scale: float = PRESETS["gms-pair"].log2_scale,
    ) -> None:
        super().__init__()
        self.candidate = Candidate(as_graph(target), as_graph(nontarget), float(log2_scale))
        self.target = compiled_function(self.candidate.target)
        self.nontarget = compiled_function(self.candidate.nontarget)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.LOSSES.GMS`."""
        candidate = configured_loss(cfg.MODEL.LOSSES.GMS, "MODEL.LOSSES.GMS")
        return {"target": candidate.target, "nontarget": candidate.nontarget, "log2_scale": candidate.log2_scale}

    def compare(self, queries: Tensor, keys: Keys) -> Tensor:
        """Mean over queries, the anchors; 0 when none has both a positive and a negative.

        Shape:
            queries: (Q, D).
            Result: scalar.
        """
        cosines = 1 - cosine_distance(queries, keys.features)
        scale = self.candidate.scale
        of_positives = masked_logsumexp(-scale * self.target(cosines), keys.positive)
        of_negatives = masked_logsumexp(scale * self.nontarget(cosines), keys.negative)
        return masked_mean(softplus(of_positives + of_negatives), keys.positive.any(1) & keys.negative.any(1))

    def extra_repr(self) -> str:
        """The formulas, for printing the model."""
        return str(self.candidate)
