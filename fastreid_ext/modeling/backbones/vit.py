"""Vision transformer, under the state names of timm and of FastReID."""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError, configurable
from fastreid_ext.modeling.backbones.base import Backbone, OfficialWeights, choose_variant, ignore_options
from fastreid_ext.modeling.backbones.pretrained import PretrainedError
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.layers import init_convs
from fastreid_ext.utils.env import require
from fastreid_ext.utils.logger import get_logger

__all__ = ["ViT"]

logger = get_logger(__name__)

PATCH = 16
UNUSED_SIE_COE = 3.0
"""FastReID's default, which its configs repeat."""

NOT_OURS = ("dist_token", "head_dist.", "pre_logits.")
"""What published weights have beside a classifier: DeiT's second token, and a layer ahead of the classifier."""


@dataclass(frozen=True)
class Variant:
    """Measures of a transformer.

    Attributes:
        layers: how many blocks.
        heads: of the attention.
        mlp_ratio: of a block's hidden channels to its own.
        qkv_bias: whether queries, keys and values have biases.
        scale_of_width: divides the attention's logits by the root of all channels, not of those of a head.
        weights: where the ImageNet weights are.
        timm_name: of the model of timm with these weights, if there is one.
        width: channels.
    """

    layers: int
    heads: int
    mlp_ratio: float
    qkv_bias: bool
    scale_of_width: bool
    weights: str
    timm_name: str = ""
    width: int = 768


TIMM_RELEASES = "https://github.com/rwightman/pytorch-image-models/releases/download"
VARIANTS = {
    "small": Variant(8, 8, 3.0, False, True, f"{TIMM_RELEASES}/v0.1-weights/vit_small_p16_224-15ec54c9.pth"),
    "base": Variant(
        12,
        12,
        4.0,
        True,
        False,
        f"{TIMM_RELEASES}/v0.1-vitjx/jx_vit_base_p16_224-80ecf9dd.pth",
        "vit_base_patch16_224.orig_in21k_ft_in1k",
    ),
}


class QueryScale(nn.Module):
    """Queries times a number, in place of timm's norm of queries."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, queries: Tensor) -> Tensor:
        return queries * self.factor


@BACKBONES.register("build_vit_backbone", source="Dosovitskiy et al., ICLR 2021", aliases=("ViT",))
class ViT(Backbone):
    """Vision transformer on patches of 16x16 pixels, whose class token is the map's one position.

    Overlapping patches are TransReID's (He et al., ICCV 2021). Its camera embedding, FastReID's `SIE_COE`, is not here:
    FastReID never gives its network a camera. Images of another size than `image_size` get interpolated position
    embeddings, where FastReID refuses them. Pool with `Identity`; there is no ReLU at the end. The official weights
    want `MODEL.PIXEL_MEAN` and `PIXEL_STD` 127.5.

    Args:
        depth: "small" (FastReID's, with 8 blocks) or "base".
        image_size: height and width that position embeddings are made for.
        stride: between patches, downwards and to the right.
        drop_path: share of samples that the last block is left out for; less in earlier ones (stochastic depth).
        dropout: of tokens and behind each linear layer of a block.
        attention_dropout: of attention weights.

    Shape:
        images: (B, 3, H, W), both at least 16.
        returns: (B, 768, 1, 1).

    Raises:
        ConfigError: unknown depth, a stride that is not positive, images smaller than a patch.
        ImportError: timm is not installed.
    """

    pos_embed: Tensor

    @configurable
    def __init__(
        self,
        *,
        depth: str = "base",
        image_size: Sequence[int] = (256, 128),
        stride: Sequence[int] = (PATCH, PATCH),
        drop_path: float = 0.0,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.variant = variant = choose_variant("ViT", depth, VARIANTS)
        self.feature_dim = variant.width
        self.image_size = tuple(image_size)
        self.stride = tuple(stride)
        self.grid = _grid(self.image_size, self.stride)
        projection = nn.Conv2d(3, variant.width, PATCH, stride=(self.stride[0], self.stride[1]))
        self.patch_embed = nn.Sequential(OrderedDict(proj=projection))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, variant.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], variant.width))
        self.pos_drop = nn.Dropout(dropout)
        rates = [drop_path * index / max(1, variant.layers - 1) for index in range(variant.layers)]
        self.blocks = nn.ModuleList([_block(variant, rate, dropout, attention_dropout) for rate in rates])
        self.norm = nn.LayerNorm(variant.width, eps=1e-6)
        self._init_weights()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        node = cfg.MODEL.BACKBONE
        ignore_options(cfg, "ViT", ("WITH_IBN", "WITH_AIN", "WITH_SE", "WITH_NL"))
        if node.SIE_COE != UNUSED_SIE_COE:
            logger.warning("ViT has no embedding of cameras: MODEL.BACKBONE.SIE_COE changes nothing")
        return {
            "depth": node.DEPTH,
            "image_size": cfg.INPUT.SIZE_TRAIN,
            "stride": node.STRIDE_SIZE,
            "drop_path": node.DROP_PATH_RATIO,
            "dropout": node.DROP_RATIO,
            "attention_dropout": node.ATT_DROP_RATE,
        }

    def forward(self, images: Tensor) -> Tensor:
        grid = _grid(images.shape[2:], self.stride)
        patches = self.patch_embed(images).flatten(2).mT
        # To torch.export, `len` would fix the number of images.
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), patches], dim=1)
        tokens = self.pos_drop(tokens + _resized(self.pos_embed, self.grid, grid))
        for block in self.blocks:
            tokens = block(tokens)
        of_class: Tensor = self.norm(tokens[:, 0])
        return of_class[:, :, None, None]

    def official_weights(self) -> OfficialWeights:
        """Google's through timm for "base"; those of timm's author for "small"."""
        if not (name := self.variant.timm_name):
            return OfficialWeights(self.variant.weights)
        return OfficialWeights(
            f"{name} of timm, {self.variant.weights}",
            lambda: require("timm", "zoo", name).create_model(name, pretrained=True).state_dict(),
        )

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without DeiT's second token, with position embeddings for this size of images; linear patches of old files.

        Raises:
            PretrainedError: position embeddings of a grid that is neither this one nor square.
        """
        converted = {key: value for key, value in state.items() if not key.startswith(NOT_OURS)}
        projection, positions = converted.get("patch_embed.proj.weight"), converted.get("pos_embed")
        if projection is not None and projection.dim() == 2:
            converted["patch_embed.proj.weight"] = projection.reshape(-1, 3, PATCH, PATCH)
        if positions is not None:
            if "dist_token" in state:
                positions = torch.cat([positions[:, :1], positions[:, 2:]], dim=1)
            converted["pos_embed"] = self._fitted(positions)
        return converted

    def _fitted(self, positions: Tensor) -> Tensor:
        if positions.shape[1] == self.pos_embed.shape[1]:
            return positions
        side = math.isqrt(count := positions.shape[1] - 1)
        if side * side != count:
            raise PretrainedError(
                f"the weights' position embeddings are of {count} patches, which make no square: set INPUT.SIZE_TRAIN "
                f"and MODEL.BACKBONE.STRIDE_SIZE as these weights were trained, or take weights of square images"
            )
        logger.info("position embeddings of %dx%d patches interpolated to %dx%d", side, side, *self.grid)
        return _resized(positions, (side, side), self.grid)

    def _init_weights(self) -> None:
        init_convs(self.patch_embed)
        for tensor in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(tensor, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def _block(variant: Variant, drop_path: float, dropout: float, attention_dropout: float) -> nn.Module:
    timm = require("timm.models.vision_transformer", "zoo", "the backbone ViT")
    block: nn.Module = timm.Block(
        variant.width,
        variant.heads,
        mlp_ratio=variant.mlp_ratio,
        qkv_bias=variant.qkv_bias,
        proj_drop=dropout,
        attn_drop=attention_dropout,
        drop_path=drop_path,
        norm_layer=functools.partial(nn.LayerNorm, eps=1e-6),
    )
    if variant.scale_of_width:
        block.get_submodule("attn").q_norm = QueryScale(variant.heads**-0.5)
    return block


def _grid(image_size: Sequence[int], stride: Sequence[int]) -> tuple[int, int]:
    """How many patches are below and beside each other.

    Raises:
        ConfigError: there are none, or the stride is not two positive numbers.
    """
    if len(stride) != 2 or min(stride) < 1:
        raise ConfigError(f"MODEL.BACKBONE.STRIDE_SIZE is {tuple(stride)}; it takes two numbers of pixels above 0")
    (height, width), (down, right) = image_size, stride
    if min(height, width) < PATCH:
        raise ConfigError(
            f"ViT cuts images into patches of {PATCH}x{PATCH} pixels, but these have {height}x{width}: set "
            f"INPUT.SIZE_TRAIN and INPUT.SIZE_TEST higher"
        )
    return (height - PATCH) // down + 1, (width - PATCH) // right + 1


def _resized(positions: Tensor, old: tuple[int, ...], new: tuple[int, ...]) -> Tensor:
    """Position embeddings of a grid, the class token's first, for another grid; bilinear as FastReID's.

    Shape:
        positions: (1, 1 + rows * columns, C).
    """
    if old == new:
        return positions
    layers = require("timm.layers", "zoo", "another image size in ViT")
    resized: Tensor = layers.resample_abs_pos_embed(
        positions, list(new), list(old), interpolation="bilinear", antialias=False
    )
    return resized
