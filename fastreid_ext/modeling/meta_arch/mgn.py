"""Multiple granularities: the whole person, halves and thirds, each with a head."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, configurable
from fastreid_ext.modeling.backbones import ResNet, build_backbone
from fastreid_ext.modeling.heads import build_heads
from fastreid_ext.modeling.losses import Criterion, build_criterion
from fastreid_ext.modeling.meta_arch.base import ReIDModel, image_arguments
from fastreid_ext.modeling.meta_arch.registry import META_ARCHS

__all__ = ["MGN", "split_resnet"]

STRIPES: dict[str, tuple[str, ...]] = {"b1": (), "b2": ("b21", "b22"), "b3": ("b31", "b32", "b33")}
"""The three branches, and the horizontal stripes, from the top, that their maps are cut into."""

EVALUATED = (*STRIPES, *(stripe for stripes in STRIPES.values() for stripe in stripes))
"""Whose embeddings stand side by side in evaluation; FastReID's order."""


@META_ARCHS.register(source="Wang et al., ACM MM 2018, arXiv:1804.01438")
class MGN(ReIDModel):
    """Three branches on a shared trunk that see whole, halves and thirds of an image; eight heads.

    Each head has a classifier, and its logits every loss on logits. Losses on features see five: those of the three
    whole maps, and those of the halves and of the thirds, side by side. All weights are divided by these numbers.
    State names and weights are FastReID's.

    Args:
        backbone: normalised images -> shared map.
        necks: shared map -> map, of the branches "b1", "b2" and "b3".
        heads: by branch and stripe, "b1", "b2", "b21", "b22", "b3", "b31", "b32" and "b33"; in training
            (map, pids) -> dict; in evaluation map -> embeddings.
        criterion: ({"branches": these dicts, "averaged": True}, pids) -> dict of scalar losses; needed in training
            only.
        pixel_mean: of each colour, on the scale of the images.
        pixel_std: of each colour, on the scale of the images.
        channels_last: lays weights and images out channels last.

    Raises:
        ConfigError: losses on features have weights, which cannot fit the widths of all branches.
    """

    map_parts: ClassVar[tuple[str, ...]] = tuple(STRIPES)

    backbone: nn.Module

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        necks: Sequence[nn.Module],
        heads: Mapping[str, nn.Module],
        criterion: nn.Module | None = None,
        pixel_mean: Sequence[float] = (0.0, 0.0, 0.0),
        pixel_std: Sequence[float] = (1.0, 1.0, 1.0),
        channels_last: bool = False,
    ) -> None:
        if isinstance(criterion, Criterion):
            _refuse_weighted(criterion)
        parts = {"backbone": backbone}
        for (branch, stripes), neck in zip(STRIPES.items(), necks, strict=True):
            parts[branch] = neck
            parts |= {f"{name}_head": heads[name] for name in (branch, *stripes)}
        super().__init__(
            parts=parts, criterion=criterion, pixel_mean=pixel_mean, pixel_std=pixel_std, channels_last=channels_last
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from `MODEL`; pretrained weights are in all copies of the trunk's stages."""
        trunk = build_backbone(cfg)
        if not isinstance(trunk, ResNet):
            raise ConfigError(
                f"MGN shares and copies stages of a ResNet: set MODEL.BACKBONE.NAME to build_resnet_backbone, "
                f"not {cfg.MODEL.BACKBONE.NAME}"
            )
        backbone, necks = split_resnet(trunk)
        return {
            "backbone": backbone,
            "necks": necks,
            "heads": {name: build_heads(cfg, trunk.feature_dim) for name in EVALUATED},
            "criterion": build_criterion(cfg),
            **image_arguments(cfg),
        }

    def embed(self, images: Tensor) -> Tensor:
        """The embeddings of all heads side by side: those of whole maps, then of halves, then of thirds.

        Shape:
            images: (B, 3, H, W), normalised.
            Result: (B, 8 D).
        """
        maps = self._maps(images)
        return torch.cat([self._head(name)(maps[name]) for name in EVALUATED], dim=1)

    def outputs(self, images: Tensor, pids: Tensor) -> dict[str, Any]:
        """What the heads give in training, by branch; the last stripe of a branch has the features of all its stripes.

        Shape:
            images: (B, 3, H, W), normalised. pids: (B,).

        Raises:
            ConfigError: the heads have branches of their own.
        """
        branches = {name: dict(self._head(name)(stripe, pids)) for name, stripe in self._maps(images).items()}
        if any("branches" in of_branch for of_branch in branches.values()):
            raise ConfigError("MGN needs heads of one branch: set MODEL.HEADS.NAME to one such as EmbeddingHead")
        for stripes in STRIPES.values():
            features = [branches[stripe].pop("features") for stripe in stripes if "features" in branches[stripe]]
            if features:
                branches[stripes[-1]]["features"] = torch.cat(features, dim=1)
        return {"branches": branches, "averaged": True}

    def _head(self, name: str) -> nn.Module:
        return self.get_submodule(f"{name}_head")

    def _maps(self, images: Tensor) -> dict[str, Tensor]:
        shared = self.backbone(images)
        maps: dict[str, Tensor] = {}
        for branch, stripes in STRIPES.items():
            maps[branch] = self.get_submodule(branch)(shared)
            maps |= zip(stripes, _cut(maps[branch], len(stripes)), strict=True)
        return maps


def split_resnet(trunk: ResNet) -> tuple[nn.Sequential, list[nn.Sequential]]:
    """The trunk up to the first block of its third stage, and three copies of what follows.

    The first copy is global and has the trunk's last stride; the last stage of the others, which are cut into stripes,
    has stride 1. The trunk is taken apart: its modules are those of the result.

    Raises:
        ConfigError: the trunk has non-local blocks, which stand between the stages.
    """
    if any((trunk.NL_1, trunk.NL_2, trunk.NL_3, trunk.NL_4)):
        raise ConfigError("MGN has no variant with non-local blocks: set MODEL.BACKBONE.WITH_NL False")
    first, *others = trunk.layer3
    shared = nn.Sequential(trunk.conv1, trunk.bn1, trunk.relu, trunk.maxpool, trunk.layer1, trunk.layer2, first)
    # Each path has a layer of its own even of what is the same at first; all learn apart.
    necks = [nn.Sequential(nn.Sequential(*others), trunk.layer4)]
    for _ in range(len(STRIPES) - 1):
        neck = copy.deepcopy(necks[0])
        for module in neck[1].modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
        necks.append(neck)
    return shared, necks


def _cut(maps: Tensor, count: int) -> tuple[Tensor, ...]:
    """Horizontal stripes, all of `ceil(h / count)` rows but the last; as equal as can be where these were too few.

    Shape:
        maps: (B, C, h, w).
        Results: (B, C, h', w).

    Raises:
        ConfigError: there are fewer rows than stripes.
    """
    if not count:
        return ()
    height = maps.shape[2]
    if height < count:
        raise ConfigError(
            f"MGN cuts maps into {count} stripes, but these have {height} rows: "
            f"set INPUT.SIZE_TRAIN and INPUT.SIZE_TEST to higher images"
        )
    stripes = maps.chunk(count, dim=2)
    return stripes if len(stripes) == count else maps.tensor_split(count, dim=2)


def _refuse_weighted(criterion: Criterion) -> None:
    for key, loss in criterion.losses.items():
        if "features" in getattr(loss, "takes", ()) and any(weight.dim() > 1 for weight in loss.parameters()):
            raise ConfigError(
                f"loss_{key} has weights for features of one width, but those of MGN's branches differ: "
                f"take a loss without weights, or MODEL.META_ARCHITECTURE Baseline"
            )
