"""The generalised margin-based softmax loss."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fastreid_ext.functional.pairs import masked_mean
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses.base import check_inputs
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.compile import CompiledFunction, compiled_function
from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.presets import as_graph, find_preset

__all__ = ["GMSLoss", "gms_logits"]


class GMSLoss(nn.Module):
    """Cross entropy of the logits s t(x) for the true class and s n(x) for the others, x being cosines.

    Args:
        target: t, as a text such as "de(1-x)*(x-0.7)" or a graph.
        nontarget: n, likewise.
        log2_scale: logarithm of the scale s to the base 2.

    Raises:
        ParseError: a text is no expression.
        GraphError: the scale is out of range.

    Source: AutoLoss-GMS, eqs. 18, 19.

    Example:
        >>> loss = GMSLoss(target="x-0.35", nontarget="x", log2_scale=5.0)
        >>> GMSLoss.preset("gms-a")
        GMSLoss(t(x) = de(1.0 - x) * (x - 0.7), n(x) = relu(gd(x - sig(0.25))), log2(s) = 7.5)
    """

    def __init__(self, *, target: str | Graph, nontarget: str | Graph, log2_scale: float) -> None:
        super().__init__()
        self.candidate = Candidate(as_graph(target), as_graph(nontarget), float(log2_scale))
        self.target = compiled_function(self.candidate.target)
        self.nontarget = compiled_function(self.candidate.nontarget)

    @classmethod
    def preset(cls, name: str) -> GMSLoss:
        """The loss that `PRESETS` has under a name.

        Raises:
            GraphError: there is none.
        """
        return cls.of(find_preset(name))

    @classmethod
    def of(cls, candidate: Candidate) -> GMSLoss:
        """The loss of a candidate."""
        return cls(target=candidate.target, nontarget=candidate.nontarget, log2_scale=candidate.log2_scale)

    def forward(self, cosines: Tensor, pids: Tensor) -> Tensor:
        """Mean over the images; those of pid -1, which belong to none of the classes, do not count.

        Shape:
            cosines: (B, C). pids: (B,), below C.
            Result: scalar.
        """
        check_inputs(cosines, pids)
        logits = self.candidate.scale * gms_logits(cosines, pids, self.target, self.nontarget)
        classified = pids >= 0
        of_true = logits.gather(1, pids.clamp_min(0)[:, None])[:, 0]
        return masked_mean(logits.logsumexp(1) - of_true, classified)

    def extra_repr(self) -> str:
        """The formulas, for printing the model."""
        return str(self.candidate)


def gms_logits(cosines: Tensor, pids: Tensor, target: CompiledFunction, nontarget: CompiledFunction) -> Tensor:
    """t(x) for the true class and n(x) for the others, in float32 at least; the scale is left to the caller.

    Shape:
        cosines: (B, C). pids: (B,), below C; -1 for none of the classes.
        Result: (B, C).
    """
    cosines = widen(cosines)
    place = pids.clamp_min(0)[:, None]
    of_others = nontarget(cosines)
    # t is computed where it is needed: once a row instead of once a class.
    of_true = torch.where(pids[:, None] >= 0, target(cosines.gather(1, place)), of_others.gather(1, place))
    return of_others.scatter(1, place, of_true)
