"""RepVGG, under the state names of its authors and of FastReID, and its form for inference."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import (
    Backbone,
    OfficialWeights,
    choose_variant,
    ignore_options,
    refuse_options,
)
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.layers import build_norm, init_convs, is_linear_in_evaluation

__all__ = ["FusedRepVGGBlock", "RepVGG", "RepVGGBlock", "reparameterized"]

M = TypeVar("M", bound=nn.Module)


class _Variant(NamedTuple):
    blocks: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    groups: int


A_BLOCKS, B_BLOCKS = (2, 4, 14, 1), (4, 6, 16, 1)
B_WIDTHS = {"B1": (128, 256, 512, 2048), "B2": (160, 320, 640, 2560), "B3": (192, 384, 768, 2560)}
VARIANTS = {
    "A0": _Variant(A_BLOCKS, (48, 96, 192, 1280), 1),
    "A1": _Variant(A_BLOCKS, (64, 128, 256, 1280), 1),
    "A2": _Variant(A_BLOCKS, (96, 192, 384, 1408), 1),
    "B0": _Variant(B_BLOCKS, (64, 128, 256, 1280), 1),
    **{
        f"{name}{suffix}": _Variant(B_BLOCKS, widths, groups)
        for name, widths in B_WIDTHS.items()
        for suffix, groups in (("", 1), ("g2", 2), ("g4", 4))
    },
}
STEM = 64
GROUPED_BLOCKS = range(2, 28, 2)
"""Of those with groups, counted through the network; the stem is block 0."""
AUTHORS = "https://github.com/DingXiaoH/RepVGG"


class FusedRepVGGBlock(nn.Module):
    """A RepVGG block as one 3x3 convolution and ReLU.

    Shape:
        x: (B, C, h, w).
        returns: (B, C', h', w').
    """

    def __init__(self, weight: Tensor, bias: Tensor, *, stride: int, groups: int) -> None:
        super().__init__()
        self.fused_weight = nn.Parameter(weight, requires_grad=False)
        self.fused_bias = nn.Parameter(bias, requires_grad=False)
        self.stride, self.groups = stride, groups
        self.nonlinearity = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.nonlinearity(
            F.conv2d(x, self.fused_weight, self.fused_bias, self.stride, padding=1, groups=self.groups)
        )
        return out


class _NormedConv(nn.Module):
    """A branch of a block."""

    def __init__(self, inputs: int, outputs: int, size: int, stride: int, groups: int, norm: str) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False)
        self.bn = build_norm(norm, outputs)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class RepVGGBlock(nn.Module):
    """ReLU of the sum of a 3x3 and a 1x1 convolution and, where shapes allow it, the identity, all normalised.

    Shape:
        x: (B, C, h, w).
        returns: (B, C', h', w').
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, groups: int = 1, norm: str = "BN") -> None:
        super().__init__()
        self.stride, self.groups = stride, groups
        self.nonlinearity = nn.ReLU(inplace=True)
        self.rbr_identity = build_norm(norm, inputs) if inputs == outputs and stride == 1 else None
        self.rbr_dense = _NormedConv(inputs, outputs, 3, stride, groups, norm)
        self.rbr_1x1 = _NormedConv(inputs, outputs, 1, stride, groups, norm)

    def forward(self, x: Tensor) -> Tensor:
        total = self.rbr_dense(x) + self.rbr_1x1(x)
        if self.rbr_identity is not None:
            total = total + self.rbr_identity(x)
        out: Tensor = self.nonlinearity(total)
        return out

    @torch.no_grad()
    def fused(self) -> FusedRepVGGBlock:
        """What the block computes in evaluation as one convolution (Ding et al., CVPR 2021, Sec. 3.3).

        Raises:
            ValueError: its norms are no batch norms with statistics.
        """
        if not self._is_linear():
            raise ValueError(
                f"a RepVGG block with {type(self.rbr_dense.bn).__name__} is no single convolution: only batch norms "
                f"with statistics are linear in evaluation (MODEL.BACKBONE.NORM)"
            )
        like = self.rbr_dense.conv.weight
        weight, bias = _fold(like, self.rbr_dense.conv.bias, self.rbr_dense.bn)
        point, point_bias = _fold(self.rbr_1x1.conv.weight, self.rbr_1x1.conv.bias, self.rbr_1x1.bn)
        weight, bias = weight + F.pad(point, (1, 1, 1, 1)), bias + point_bias
        if self.rbr_identity is not None:
            same, same_bias = _fold(nn.init.dirac_(torch.empty_like(like), self.groups), None, self.rbr_identity)
            weight, bias = weight + same, bias + same_bias
        block = FusedRepVGGBlock(weight.to(like), bias.to(like), stride=self.stride, groups=self.groups)
        return block.train(self.training)

    def for_inference(self) -> nn.Module:
        """The block as one convolution if it is linear up to its ReLU."""
        # What a subclass computes may be something else.
        return self.fused() if type(self) is RepVGGBlock and self._is_linear() else self

    def _is_linear(self) -> bool:
        norms = (self.rbr_dense.bn, self.rbr_1x1.bn, self.rbr_identity or nn.Identity())
        return all(isinstance(norm, nn.Identity) or is_linear_in_evaluation(norm) for norm in norms)


@torch.no_grad()
def reparameterized(model: M) -> M:
    """A copy for evaluation in which every RepVGG block is one 3x3 convolution; all else is as it was.

    Names of these are FastReID's, `fused_weight` and `fused_bias`, so that a state of a model which it has deployed can
    be loaded. The copy cannot be trained: no gradients are asked for. `prepare_for_inference` does this and more.

    Args:
        model: left as it is; anything with RepVGG blocks in it, as a backbone or a whole model.

    Raises:
        ValueError: a block has norms that are no batch norms with statistics.
    """
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            # A subclass of yours may do more.
            if type(child) is RepVGGBlock:
                setattr(parent, name, child.fused())
    return copied


@BACKBONES.register("build_repvgg_backbone", source="Ding et al., CVPR 2021", aliases=("RepVGG",))
class RepVGG(Backbone):
    """VGG-like network of blocks that are three branches in training and one convolution in inference.

    `reparameterized` and `prepare_for_inference` give the latter.

    Args:
        depth: "A0", "A1", "A2", "B0", or "B1", "B2" or "B3", these also with "g2" or "g4" for groups.
        last_stride: of the last stage; 1 keeps its map at a sixteenth of the image.
        norm: name of a norm; of other than batch norms, blocks stay as they are in inference.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 1280, 1408, 2048 or 2560, H/16, W/16), with last stride 2 H/32, W/32.

    Raises:
        ConfigError: unknown depth.
    """

    @configurable
    def __init__(self, *, depth: str = "A0", last_stride: int = 1, norm: str = "BN") -> None:
        super().__init__()
        blocks, widths, groups = choose_variant("RepVGG", depth, VARIANTS)
        self.depth, self.feature_dim = depth, widths[-1]
        inputs, index = min(STEM, widths[0]), 0
        self.stage0 = RepVGGBlock(3, inputs, stride=2, norm=norm)
        stages = []
        for count, width, stride in zip(blocks, widths, (2, 2, 2, last_stride), strict=True):
            stage: list[nn.Module] = []
            for first in (True, *[False] * (count - 1)):
                index += 1
                own_groups = groups if index in GROUPED_BLOCKS else 1
                stage.append(RepVGGBlock(inputs, width, stride=stride if first else 1, groups=own_groups, norm=norm))
                inputs = width
            stages.append(nn.Sequential(*stage))
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        init_convs(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "RepVGG", ("WITH_AIN",))
        ignore_options(cfg, "RepVGG", ("WITH_IBN", "WITH_SE", "WITH_NL"))
        node = cfg.MODEL.BACKBONE
        return {"depth": node.DEPTH, "last_stride": node.LAST_STRIDE, "norm": node.NORM}

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.stage4(self.stage3(self.stage2(self.stage1(self.stage0(images)))))
        return out

    def official_weights(self) -> OfficialWeights:
        """Files that the authors link to, in their form for training."""
        return OfficialWeights(f"RepVGG-{self.depth}-train.pth of its authors ({AUTHORS})")


def _fold(weight: Tensor, bias: Tensor | None, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """A convolution and the norm after it, which may be folded already, as one, in double precision."""
    weight = weight.double()
    bias = weight.new_zeros(len(weight)) if bias is None else bias.double()
    if isinstance(norm, nn.Identity):
        return weight, bias
    assert isinstance(norm, nn.BatchNorm2d | nn.SyncBatchNorm)
    assert norm.running_mean is not None and norm.running_var is not None
    return fuse_conv_bn_weights(
        weight, bias, norm.running_mean.double(), norm.running_var.double(), norm.eps, norm.weight, norm.bias
    )
