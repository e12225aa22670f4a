"""DenseNet, under torchvision's state names."""

from __future__ import annotations

import re
from typing import Any

import torchvision.models
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import Backbone, OfficialWeights, choose_variant, refuse_options
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.backbones.torchvision_weights import torchvision_weights
from fastreid_ext.modeling.layers import convert_norms

__all__ = ["DenseNet"]

VARIANTS = {
    "121": torchvision.models.densenet121,
    "161": torchvision.models.densenet161,
    "169": torchvision.models.densenet169,
    "201": torchvision.models.densenet201,
}


@BACKBONES.register("build_densenet_backbone", source="Huang et al., CVPR 2017", aliases=("DenseNet",))
class DenseNet(Backbone):
    """Densely connected network of torchvision with its last norm and ReLU.

    Args:
        depth: "121", "161", "169" or "201".
        last_stride: 1 leaves out the pooling before the last block.
        norm: name of a norm.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 1024, 2208, 1664 or 1920, H/16, W/16), with last stride 2 H/32, W/32.

    Raises:
        ConfigError: unknown depth.
    """

    features: nn.Sequential

    @configurable
    def __init__(self, *, depth: str = "121", last_stride: int = 1, norm: str = "BN") -> None:
        super().__init__()
        network = choose_variant("DenseNet", depth, VARIANTS)(weights=None)
        self.depth = depth
        self.feature_dim = int(network.classifier.in_features)
        self.features = network.features
        self.relu = nn.ReLU(inplace=True)
        if last_stride == 1:
            self.features.get_submodule("transition3").pool = nn.Identity()
        if norm != "BN":
            convert_norms(self, norm)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "DenseNet", ("WITH_IBN", "WITH_AIN", "WITH_SE", "WITH_NL"))
        node = cfg.MODEL.BACKBONE
        return {"depth": node.DEPTH, "last_stride": node.LAST_STRIDE, "norm": node.NORM}

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.relu(self.features(images))
        return out

    def official_weights(self) -> OfficialWeights:
        """torchvision's."""
        return torchvision_weights(f"DenseNet{self.depth}_Weights.IMAGENET1K_V1")

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The published files write `norm.1` for what torchvision calls `norm1` today."""
        return {re.sub(r"\.(norm|conv)\.(\d)\.", r".\1\2.", key): value for key, value in state.items()}
