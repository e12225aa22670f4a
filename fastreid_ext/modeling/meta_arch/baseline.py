"""Backbone, head and losses in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones import build_backbone
from fastreid_ext.modeling.heads import build_heads
from fastreid_ext.modeling.losses import build_criterion
from fastreid_ext.modeling.meta_arch.base import ReIDModel, image_arguments
from fastreid_ext.modeling.meta_arch.registry import META_ARCHS

__all__ = ["Baseline"]


@META_ARCHS.register()
class Baseline(ReIDModel):
    """Normalises images and passes them through backbone, head and, in training, losses.

    Args:
        backbone: normalised images -> what the head takes.
        heads: in training (features, pids) -> dict; in evaluation features -> embeddings.
        criterion: (that dict with the backbone's last map as "map", pids) -> dict of scalar losses; needed in training
            only.
        pixel_mean: of each colour, on the scale of the images.
        pixel_std: of each colour, on the scale of the images.
        channels_last: lays weights and images out channels last.
    """

    backbone: nn.Module
    heads: nn.Module

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        heads: nn.Module,
        criterion: nn.Module | None = None,
        pixel_mean: Sequence[float] = (0.0, 0.0, 0.0),
        pixel_std: Sequence[float] = (1.0, 1.0, 1.0),
        channels_last: bool = False,
    ) -> None:
        parts = {"backbone": backbone, "heads": heads}
        super().__init__(
            parts=parts, criterion=criterion, pixel_mean=pixel_mean, pixel_std=pixel_std, channels_last=channels_last
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL`."""
        backbone = build_backbone(cfg)
        feature_dim = backbone.feature_dim
        assert isinstance(feature_dim, int)
        return {
            "backbone": backbone,
            "heads": build_heads(cfg, feature_dim),
            "criterion": build_criterion(cfg, feature_dim),
            **image_arguments(cfg),
        }

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings in evaluation.

        Shape:
            images: (B, 3, H, W), normalised.
            Result: (B, D).
        """
        embeddings: Tensor = self.heads(self.backbone(images))
        return embeddings

    def outputs(self, images: Tensor, pids: Tensor) -> dict[str, Any]:
        """What the head gives in training, and the backbone's last map as "map".

        Shape:
            images: (B, 3, H, W), normalised. pids: (B,).
        """
        maps = self.backbone(images)
        last = maps.get("last") if isinstance(maps, Mapping) else maps
        return {**self.heads(maps, pids), **({} if last is None else {"map": last})}
