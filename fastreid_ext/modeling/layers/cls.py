"""Classification layers: margins and scales that turn linear outputs or cosines into logits."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.functional.precision import widen
from fastreid_ext.registry import Registry

__all__ = ["CLS_LAYERS", "ArcSoftmax", "CLSLayer", "CircleSoftmax", "CosSoftmax", "Linear", "build_cls_layer"]

# CLS_LAYERS.get(name)(cfg) is a `CLSLayer`: (linear outputs or cosines, pids) -> logits.
CLS_LAYERS = Registry("CLS layer")

# Keeps the slope of the arc cosine finite; the step of float32 below one is 6e-8.
_ARC_LIMIT = 1 - 1e-7


class CLSLayer(nn.Module):
    """What the layers have in common: `(num_classes, scale, margin)`, and whether they take cosines.

    The head multiplies features and class weights, both of unit length where `takes_cosines` says so. A row whose pid
    is -1 belongs to none of the classes.
    """

    takes_cosines: ClassVar[bool] = True

    @configurable
    def __init__(self, num_classes: int, scale: float = 1.0, margin: float = 0.0) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.scale = scale
        self.margin = margin

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL.HEADS`."""
        heads = cfg.MODEL.HEADS
        return {"num_classes": heads.NUM_CLASSES, "scale": heads.SCALE, "margin": heads.MARGIN}

    def extra_repr(self) -> str:
        """The arguments, for printing the model."""
        return f"num_classes={self.num_classes}, scale={self.scale}, margin={self.margin}"


@CLS_LAYERS.register()
class Linear(CLSLayer):
    """Scaled linear outputs, without a margin."""

    takes_cosines = False

    def forward(self, outputs: Tensor, pids: Tensor) -> Tensor:
        """`scale * outputs`.

        Shape:
            outputs: (B, C). pids: (B,).
            Result: (B, C).
        """
        return outputs * self.scale


@CLS_LAYERS.register(source="Wang et al. 2018, arXiv:1801.09414")
class CosSoftmax(CLSLayer):
    """CosFace: the margin is taken off the true class's cosine."""

    def forward(self, cosines: Tensor, pids: Tensor) -> Tensor:
        """`scale * (cosine - margin)` for the true class, `scale * cosine` for the others.

        Shape:
            cosines: (B, C). pids: (B,).
            Result: (B, C).
        """
        cosines = widen(cosines)
        return self.scale * torch.where(_true_class(cosines, pids), cosines - self.margin, cosines)


@CLS_LAYERS.register(source="Deng et al. 2019, arXiv:1801.07698")
class ArcSoftmax(CLSLayer):
    """ArcFace: the margin is added to the true class's angle."""

    def forward(self, cosines: Tensor, pids: Tensor) -> Tensor:
        """`scale * cos(angle + margin)` for the true class, `scale * cosine` for the others.

        Shape:
            cosines: (B, C). pids: (B,).
            Result: (B, C).
        """
        cosines = widen(cosines)
        clamped = cosines.clamp(-_ARC_LIMIT, _ARC_LIMIT)
        # cos(angle + margin), expanded: cheaper than the arc cosine, with the same value and slope.
        turned = clamped * math.cos(self.margin) - (1 - clamped.square()).sqrt() * math.sin(self.margin)
        return self.scale * torch.where(_true_class(cosines, pids), turned, cosines)


@CLS_LAYERS.register(source="Sun et al. 2020, arXiv:2002.10857")
class CircleSoftmax(CLSLayer):
    """Circle loss on class weights: each cosine is weighted by its distance to its optimum.

    With m the margin, the optima are `1 + m` and `-m`, the boundaries `1 - m` and `m`.
    """

    def forward(self, cosines: Tensor, pids: Tensor) -> Tensor:
        """`scale * weight * (cosine - boundary)`.

        Shape:
            cosines: (B, C). pids: (B,).
            Result: (B, C).
        """
        cosines = widen(cosines)
        constant = cosines.detach()
        of_true = (1 + self.margin - constant).relu() * (cosines - (1 - self.margin))
        of_others = (constant + self.margin).relu() * (cosines - self.margin)
        return self.scale * torch.where(_true_class(cosines, pids), of_true, of_others)


def build_cls_layer(cfg: CfgNode) -> CLSLayer:
    """The layer `MODEL.HEADS.CLS_LAYER`.

    Raises:
        RegistryError: there is none of that name.
    """
    layer: CLSLayer = CLS_LAYERS.get(cfg.MODEL.HEADS.CLS_LAYER)(cfg)
    return layer


def _true_class(cosines: Tensor, pids: Tensor) -> Tensor:
    return pids[:, None] == torch.arange(cosines.shape[1], device=cosines.device)
