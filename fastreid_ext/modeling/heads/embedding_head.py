"""The head of most ReID networks."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.heads.classifier import class_weight, classify
from fastreid_ext.modeling.heads.registry import HEADS
from fastreid_ext.modeling.layers.cls import CLSLayer, Linear, build_cls_layer
from fastreid_ext.modeling.layers.norm import build_norm
from fastreid_ext.modeling.layers.pooling import build_pooling

__all__ = ["EmbeddingHead"]


@HEADS.register(source="batch-norm neck: Luo et al. 2019, arXiv:1903.07071")
class EmbeddingHead(nn.Module):
    """Pooling, optional 1x1 convolution, optional batch-norm neck, classification.

    The state names are FastReID's: `pool_layer.*`, `bottleneck.*`, `weight`.

    Args:
        feature_dim: channels of the backbone's map.
        num_classes: identities in training; a head that only evaluates may have 0.
        embedding_dim: output channels of the 1x1 convolution; 0 for none.
        with_bnneck: normalises the embedding, with a bias that stays 0.
        norm: the neck's kind of normalisation.
        neck_feat: whether metric losses see the features "before" or "after" convolution and neck.
        pool_layer: name of the pooling.
        cls_layer: margins and scale; plain linear logits without it.

    Attributes:
        embedding_dim: width of the embeddings in evaluation.
        weight: of the classifier; None for a head without.

    Raises:
        ValueError: `neck_feat` is neither "before" nor "after".
    """

    @configurable
    def __init__(
        self,
        *,
        feature_dim: int,
        num_classes: int = 0,
        embedding_dim: int = 0,
        with_bnneck: bool = False,
        norm: str = "BN",
        neck_feat: str = "before",
        pool_layer: str = "GlobalAvgPool",
        cls_layer: CLSLayer | None = None,
    ) -> None:
        super().__init__()
        if neck_feat not in ("before", "after"):
            raise ValueError(f"MODEL.HEADS.NECK_FEAT is 'before' or 'after', not {neck_feat!r}")
        self.neck_feat = neck_feat
        self.embedding_dim = embedding_dim or feature_dim
        self.pool_layer = build_pooling(pool_layer)
        self.bottleneck = _bottleneck(feature_dim, embedding_dim, norm if with_bnneck else "")
        self.weight: nn.Parameter | None = class_weight(num_classes, self.embedding_dim)
        self.cls_layer = cls_layer or Linear(num_classes)

    @classmethod
    def from_config(cls, cfg: CfgNode, feature_dim: int) -> dict[str, Any]:
        """Keyword arguments from `MODEL.HEADS`."""
        heads = cfg.MODEL.HEADS
        return {
            "feature_dim": feature_dim,
            "num_classes": heads.NUM_CLASSES,
            "embedding_dim": heads.EMBEDDING_DIM,
            "with_bnneck": heads.WITH_BNNECK,
            "norm": heads.NORM,
            "neck_feat": heads.NECK_FEAT,
            "pool_layer": heads.POOL_LAYER,
            "cls_layer": build_cls_layer(cfg),
        }

    def forward(
        self, features: Tensor | Mapping[str, Tensor], pids: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        """Embeddings in evaluation, not normalised; in training what the losses take.

        Shape:
            features: (B, C, h, w), or a dict whose "last" is that. pids: (B,), in training.
            Result: (B, D); in training `cls_outputs` (B, num_classes) with margins, `pred_class_logits`
            (B, num_classes) without, `features` (B, D) before or after the neck; of a head without classifier the
            last alone.

        Raises:
            ValueError: the pooling leaves more than one position; in training, no pids or no classes.
        """
        pooled = self._pool(features if isinstance(features, Tensor) else features["last"])
        embeddings: Tensor = self.bottleneck(pooled).flatten(1)
        if not self.training:
            return embeddings
        chosen = pooled.flatten(1) if self.neck_feat == "before" else embeddings
        if self.weight is None:
            return {"features": chosen}
        if pids is None:
            raise ValueError("a head needs the pids in training: head(features, pids); or call eval() on the model")
        return classify(embeddings, pids, self.weight, self.cls_layer) | {"features": chosen}

    def without_classifier(self) -> EmbeddingHead:
        """A copy that in training gives the features only."""
        head = copy.copy(self)
        head._parameters = {**self._parameters, "weight": None}
        return copy.deepcopy(head)

    def _pool(self, features: Tensor) -> Tensor:
        pooled: Tensor = self.pool_layer(features)
        if pooled.shape[2:].numel() != 1 or pooled.shape[1] != features.shape[1]:
            raise ValueError(
                f"pooling {type(self.pool_layer).__name__} makes {tuple(pooled.shape[1:])} of a map "
                f"{tuple(features.shape[1:])}; a head needs one position: set MODEL.HEADS.POOL_LAYER to one that "
                f"pools, such as GlobalAvgPool"
            )
        # To torch.export, `len` would fix the number of images.
        return pooled.reshape(pooled.shape[0], -1, 1, 1)


def _bottleneck(feature_dim: int, embedding_dim: int, norm: str) -> nn.Sequential:
    layers: list[nn.Module] = []
    if embedding_dim:
        convolution = nn.Conv2d(feature_dim, embedding_dim, 1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, mode="fan_out")
        layers.append(convolution)
    if norm:
        neck = build_norm(norm, embedding_dim or feature_dim)
        # With a bias, embeddings would drift from the origin that the classifier's cosines are measured from.
        if isinstance(bias := getattr(neck, "bias", None), nn.Parameter):
            nn.init.zeros_(bias).requires_grad_(False)
        layers.append(neck)
    return nn.Sequential(*layers)
