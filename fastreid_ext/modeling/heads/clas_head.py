"""The head of classification."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from fastreid_ext.modeling.heads.classifier import class_outputs
from fastreid_ext.modeling.heads.embedding_head import EmbeddingHead
from fastreid_ext.modeling.heads.registry import HEADS

__all__ = ["ClasHead"]


@HEADS.register(source="FastReID: He et al. 2020, arXiv:2006.02631")
class ClasHead(EmbeddingHead):
    """An `EmbeddingHead` that in evaluation gives the logits of its classes, for `ClasEvaluator`.

    Attributes:
        gives_logits: what it gives in evaluation is of classes, and needs their weight.
    """

    gives_logits: ClassVar[bool] = True

    def forward(
        self, features: Tensor | Mapping[str, Tensor], pids: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        """Logits in evaluation, scaled and without margin; in training as `EmbeddingHead`.

        Shape:
            features: (B, C, h, w), or a dict whose "last" is that. pids: (B,), in training.
            Result: (B, num_classes); in training see `EmbeddingHead`.

        Raises:
            ValueError: there are no classes; see `EmbeddingHead` for others.
        """
        given = super().forward(features, pids)
        if self.training or self.weight is None:
            return given
        assert isinstance(given, Tensor)
        return class_outputs(given, self.weight, self.cls_layer) * self.cls_layer.scale
