"""The loss as a classification layer of a head."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.layers.cls import CLS_LAYERS, CLSLayer
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.compile import compiled_function
from fastreid_ext.projects.gms.from_config import configured_loss
from fastreid_ext.projects.gms.graph import Graph
from fastreid_ext.projects.gms.loss import gms_logits
from fastreid_ext.projects.gms.presets import PRESETS, as_graph

__all__ = ["GMSSoftmax"]


@CLS_LAYERS.register(source="Gu et al. 2022 (AutoLoss-GMS)")
class GMSSoftmax(CLSLayer):
    """Any margin-based softmax: t of the true class's cosine, n of the others', as MODEL.GMS says.

    Cross entropy on its logits is `GMSLoss`. `MODEL.HEADS.SCALE` and `MODEL.HEADS.MARGIN` are not used: scale and
    margins are the loss's own. Without arguments but the first it is AutoLoss-GMS-A.

    Args:
        num_classes: identities.
        target: t, as a text or a graph.
        nontarget: n, likewise.
        log2_scale: logarithm of the scale s to the base 2.

    Raises:
        ParseError: a text is no expression.
        GraphError: the scale is out of range.
    """

    @configurable
    def __init__(
        self,
        num_classes: int,
        *,
        target: str | Graph = PRESETS["gms-a"].target,
        nontarget: str | Graph = PRESETS["gms-a"].nontarget,
        log2_scale: float = PRESETS["gms-a"].log2_scale,
    ) -> None:
        self.candidate = Candidate(as_graph(target), as_graph(nontarget), float(log2_scale))
        super().__init__(num_classes, scale=self.candidate.scale)
        self.target = compiled_function(self.candidate.target)
        self.nontarget = compiled_function(self.candidate.nontarget)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.GMS` and `MODEL.HEADS.NUM_CLASSES`."""
        candidate = configured_loss(cfg.MODEL.GMS, "MODEL.GMS")
        return {
            "num_classes": cfg.MODEL.HEADS.NUM_CLASSES,
            "target": candidate.target,
            "nontarget": candidate.nontarget,
            "log2_scale": candidate.log2_scale,
        }

    def forward(self, cosines: Tensor, pids: Tensor) -> Tensor:
        """`scale * t(cosine)` for the true class, `scale * n(cosine)` for the others.

        Shape:
            cosines: (B, C). pids: (B,); -1 for none of the classes.
            Result: (B, C).
        """
        return self.scale * gms_logits(cosines, pids, self.target, self.nontarget)

    def extra_repr(self) -> str:
        """The formulas, for printing the model."""
        return f"num_classes={self.num_classes}, {self.candidate}"
