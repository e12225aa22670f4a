"""BN-Inception, under the state names of the widely used weights that were converted from Caffe."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import Backbone, OfficialWeights, refuse_options
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.layers import build_norm, init_convs

__all__ = ["BNInception"]

# Channels of: 1x1; 3x3 with its reduction; double 3x3 with its reduction; projection after the pooling.
# The blocks with 0 for 1x1 and projection halve the map and pass their pooled input on.
BLOCKS = {
    "3a": (64, (64, 64), (64, 96), 32),
    "3b": (64, (64, 96), (64, 96), 64),
    "3c": (0, (128, 160), (64, 96), 0),
    "4a": (224, (64, 96), (96, 128), 128),
    "4b": (192, (96, 128), (96, 128), 128),
    "4c": (160, (128, 160), (128, 160), 128),
    "4d": (96, (128, 192), (160, 192), 128),
    "4e": (0, (128, 192), (192, 256), 0),
    "5a": (352, (192, 320), (160, 224), 128),
    "5b": (352, (192, 320), (192, 224), 128),
}
WEIGHTS = "bn_inception-52deb4733.pth (http://data.lip6.fr/cadene/pretrainedmodels/bn_inception-52deb4733.pth)"


@BACKBONES.register("build_bn_inception_backbone", source="Ioffe & Szegedy, ICML 2015", aliases=("BNInception",))
class BNInception(Backbone):
    """Inception with batch norm, the usual network of metric learning.

    The converted weights were trained on pixels 0-255 less a mean, not divided: set MODEL.PIXEL_MEAN to
    [128, 117, 104] and MODEL.PIXEL_STD to [1, 1, 1] with them. Images stay RGB: the weights' BGR order is converted.

    Args:
        last_stride: of block 4e; 1 keeps the map at a sixteenth of the image.
        norm: name of a norm.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 1024, H/16, W/16), with last stride 2 H/32, W/32.
    """

    feature_dim = 1024

    @configurable
    def __init__(self, *, last_stride: int = 2, norm: str = "BN") -> None:
        super().__init__()
        self.norm = norm
        self.strides = dict.fromkeys(BLOCKS, 1) | {"3c": 2, "4e": last_stride}
        self._add("conv1_7x7_s2", 3, 64, size=7, stride=2)
        self._add("conv2_3x3_reduce", 64, 64)
        self._add("conv2_3x3", 64, 192, size=3)
        channels = 192
        for block in BLOCKS:
            channels = self._add_block(block, channels)
        init_convs(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "BN-Inception", ("WITH_IBN", "WITH_AIN", "WITH_SE", "WITH_NL"))
        node = cfg.MODEL.BACKBONE
        return {"last_stride": node.LAST_STRIDE, "norm": node.NORM}

    def _add(self, name: str, inputs: int, outputs: int, size: int = 1, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2))
        self.add_module(f"{name}_bn", build_norm(self.norm, outputs))
        self.add_module(f"{name}_relu", nn.ReLU(inplace=True))

    def _add_block(self, block: str, inputs: int) -> int:
        """Adds the layers of an inception block and returns its channels."""
        pointwise, (reduce, single), (double_reduce, double), projection = BLOCKS[block]
        name, stride = f"inception_{block}", self.strides[block]
        if pointwise:
            self._add(f"{name}_1x1", inputs, pointwise)
        self._add(f"{name}_3x3_reduce", inputs, reduce)
        self._add(f"{name}_3x3", reduce, single, size=3, stride=stride)
        self._add(f"{name}_double_3x3_reduce", inputs, double_reduce)
        self._add(f"{name}_double_3x3_1", double_reduce, double, size=3)
        self._add(f"{name}_double_3x3_2", double, double, size=3, stride=stride)
        if projection:
            self._add(f"{name}_pool_proj", inputs, projection)
        return pointwise + single + double + (projection or inputs)

    def forward(self, images: Tensor) -> Tensor:
        x = self._conv("conv1_7x7_s2", images)
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        x = self._conv("conv2_3x3", self._conv("conv2_3x3_reduce", x))
        x = F.max_pool2d(x, 3, stride=2, ceil_mode=True)
        for block in BLOCKS:
            x = torch.cat(list(self._branches(block, x)), dim=1)
        return x

    def _conv(self, name: str, x: Tensor) -> Tensor:
        convolved = self.get_submodule(name)(x)
        out: Tensor = self.get_submodule(f"{name}_relu")(self.get_submodule(f"{name}_bn")(convolved))
        return out

    def _branches(self, block: str, x: Tensor) -> Iterator[Tensor]:
        name = f"inception_{block}"
        if BLOCKS[block][0]:
            yield self._conv(f"{name}_1x1", x)
        yield self._conv(f"{name}_3x3", self._conv(f"{name}_3x3_reduce", x))
        double = self._conv(f"{name}_double_3x3_1", self._conv(f"{name}_double_3x3_reduce", x))
        yield self._conv(f"{name}_double_3x3_2", double)
        yield self._pool(block, x)

    def _pool(self, block: str, x: Tensor) -> Tensor:
        if not BLOCKS[block][-1]:
            if self.strides[block] == 1:
                return F.max_pool2d(x, 3, stride=1, padding=1)
            # Odd sides are filled up, so that the pooled map is as large as the strided convolutions'.
            even = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), value=-math.inf)
            return F.max_pool2d(even, 3, stride=2, ceil_mode=True)
        pool = F.max_pool2d if block == "5b" else F.avg_pool2d
        pooled = pool(x, 3, stride=1, padding=1)
        return self._conv(f"inception_{block}_pool_proj", pooled)

    def last_activations(self) -> Sequence[str]:
        """Those of the last block's branches, which stand side by side."""
        return [f"inception_5b_{branch}_relu" for branch in ("1x1", "3x3", "double_3x3_2", "pool_proj")]

    def official_weights(self) -> OfficialWeights:
        """The file that papers of metric learning use."""
        return OfficialWeights(WEIGHTS)

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """From (1, C) norms and BGR input, as the converted file has them, to (C,) and RGB."""
        flat = {key: value[0] if value.dim() == 2 and "_bn." in key else value for key, value in state.items()}
        # Only the converted file has the ImageNet classifier; our own weights are RGB already.
        if any(key.startswith(("last_linear.", "fc.")) for key in flat):
            flat["conv1_7x7_s2.weight"] = flat["conv1_7x7_s2.weight"].flip(1)
        return flat
