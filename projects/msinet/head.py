"""The two-branch neck that MSINet takes from CDNet (Li et al., CVPR 2021)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, configurable
from fastreid_ext.modeling.heads import HEADS, class_weight, classify
from fastreid_ext.modeling.layers.cls import CLSLayer, Linear, build_cls_layer
from fastreid_ext.modeling.layers.norm import build_norm
from fastreid_ext.modeling.layers.pooling import GlobalAvgPool
from fastreid_ext.projects.msinet.backbone import CHANNELS
from fastreid_ext.projects.msinet.cell import conv1x1

__all__ = ["TwoBranchHead"]


@HEADS.register(source="Li et al., CVPR 2021; Gu et al. 2023, section 4.3", aliases=("FBLNeck",))
class TwoBranchHead(nn.Module):
    """A global branch on the last map, a local one on the upper and lower half of the map "local".

    Global: average pooling, linear layer, batch-norm neck, classifier. Local: 1x1 convolution, each half pooled, both
    concatenated, then the same.

    Args:
        feature_dim: channels of the last map.
        num_classes: identities in training; a head that only evaluates may have 0.
        local_dim: channels of the map "local".
        local_width: channels of each half's feature.
        norm: the necks' kind of normalisation.
        neck_feat: whether metric losses see the features "before" or "after" the necks.
        test_feat: whether the embedding is made "before" or "after" the necks, or "auto": before them for images of the
            training domain, after them for others.
        cls_layer: margins and scale; plain linear logits without it.

    Attributes:
        embedding_dim: width of the embeddings in evaluation.
        seen_domain: whether the images to embed are of the training domain; the evaluation sets it.

    Raises:
        ValueError: an unknown `neck_feat` or `test_feat`.
    """

    seen_domain: bool = True

    @configurable
    def __init__(
        self,
        *,
        feature_dim: int = CHANNELS[-1],
        num_classes: int = 0,
        local_dim: int = CHANNELS[-2],
        local_width: int = 128,
        norm: str = "BN",
        neck_feat: str = "before",
        test_feat: str = "auto",
        cls_layer: CLSLayer | None = None,
    ) -> None:
        super().__init__()
        if neck_feat not in ("before", "after"):
            raise ValueError(f"MODEL.HEADS.NECK_FEAT is 'before' or 'after', not {neck_feat!r}")
        if test_feat not in ("auto", "before", "after"):
            raise ValueError(f"MODEL.MSINET.TEST_FEAT is 'auto', 'before' or 'after', not {test_feat!r}")
        self.neck_feat, self.test_feat = neck_feat, test_feat
        self.embedding_dim = feature_dim + 2 * local_width
        self.pool_layer = GlobalAvgPool()
        self.local_conv = conv1x1(local_dim, local_width)
        self.global_branch = _Branch(feature_dim, num_classes, norm)
        self.local_branch = _Branch(2 * local_width, num_classes, norm)
        self.cls_layer = cls_layer or Linear(num_classes)

    @classmethod
    def from_config(cls, cfg: CfgNode, feature_dim: int) -> dict[str, Any]:
        """Keyword arguments from `MODEL.HEADS` and `MODEL.MSINET`."""
        heads = cfg.MODEL.HEADS
        return {
            "feature_dim": feature_dim,
            "num_classes": heads.NUM_CLASSES,
            "norm": heads.NORM,
            "neck_feat": heads.NECK_FEAT,
            "test_feat": cfg.MODEL.MSINET.TEST_FEAT,
            "cls_layer": build_cls_layer(cfg),
        }

    def without_classifier(self) -> TwoBranchHead:
        """A copy that in training gives the features only."""
        head = copy.deepcopy(self)
        head.global_branch.weight = head.local_branch.weight = None
        return head

    def forward(self, features: Mapping[str, Tensor], pids: Tensor | None = None) -> Tensor | dict[str, Any]:
        """Embeddings in evaluation, not normalised; in training what the losses take, by branch.

        Shape:
            features: "last" (B, feature_dim, h, w), "local" (B, local_dim, h', w').
            pids: (B,), in training.
            Result: (B, embedding_dim); in training `branches`: "global" and "local", each with `cls_outputs` and
            `pred_class_logits` (B, num_classes), and `features` (B, D).

        Raises:
            ConfigError: the backbone gives no map "local".
            ValueError: in training, no pids or no classes.
        """
        if not isinstance(features, Mapping) or "local" not in features:
            raise ConfigError('TwoBranchHead needs a backbone with maps "last" and "local", such as MSINet')
        halves = nn.functional.adaptive_avg_pool2d(self.local_conv(features["local"]), (2, 1))
        pooled = {
            "global": (self.global_branch, self.pool_layer(features["last"]).flatten(1)),
            "local": (self.local_branch, halves.squeeze(-1).mT.flatten(1)),
        }
        embedded = {name: (branch, *branch(feature)) for name, (branch, feature) in pooled.items()}
        if not self.training:
            use_before = self.seen_domain if self.test_feat == "auto" else self.test_feat == "before"
            chosen = [before if use_before else after for _, before, after in embedded.values()]
            return torch.cat(chosen, dim=1)
        if pids is None:
            raise ValueError("a head needs the pids in training: head(features, pids); or call eval() on the model")
        return {
            "branches": {
                name: {"features": before if self.neck_feat == "before" else after}
                | ({} if branch.weight is None else classify(after, pids, branch.weight, self.cls_layer))
                for name, (branch, before, after) in embedded.items()
            }
        }


class _Branch(nn.Module):
    """Linear layer, batch-norm neck and classifier weight of one branch."""

    def __init__(self, width: int, num_classes: int, norm: str) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width, bias=False)
        self.neck = build_norm(norm, width)
        self.weight: nn.Parameter | None = class_weight(num_classes, width)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Features before and after the neck, each (B, D)."""
        before = self.linear(pooled)
        return before, self.neck(before[:, :, None, None]).flatten(1)
