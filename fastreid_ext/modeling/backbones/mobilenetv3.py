"""MobileNetV3, under FastReID's state names."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
import torchvision.models
from torch import Tensor, nn
from torchvision.ops.misc import Conv2dNormActivation

from fastreid_ext.config import CfgNode, configurable
from fastreid_ext.modeling.backbones.base import (
    Backbone,
    OfficialWeights,
    choose_variant,
    ignore_options,
    refuse_options,
)
from fastreid_ext.modeling.backbones.conversion import absorb_epsilon
from fastreid_ext.modeling.backbones.registry import BACKBONES
from fastreid_ext.modeling.backbones.torchvision_weights import torchvision_weights
from fastreid_ext.modeling.layers import build_norm, init_convs

__all__ = ["MobileNetV3"]

VARIANTS = {"Large": torchvision.models.mobilenet_v3_large, "Small": torchvision.models.mobilenet_v3_small}

TORCHVISION_EPSILON = 1e-3
TORCHVISION_CLASSIFIER = "classifier.0.weight"


@BACKBONES.register("build_mobilenetv3_backbone", source="Howard et al., ICCV 2019", aliases=("MobileNetV3",))
class MobileNetV3(Backbone):
    """Searched network for small devices: torchvision's, with one convolution more in place of its classifier.

    Its map is a thirty-second of the image whatever MODEL.BACKBONE.LAST_STRIDE says, as in FastReID.

    Args:
        depth: "Large" or "Small".
        norm: name of a norm.

    Shape:
        images: (B, 3, H, W).
        returns: (B, 1280 or 1024, H/32, W/32).

    Raises:
        ConfigError: unknown depth.
    """

    @configurable
    def __init__(self, *, depth: str = "Large", norm: str = "BN") -> None:
        super().__init__()
        norm_layer = partial(build_norm, norm)
        network = choose_variant("MobileNetV3", depth, VARIANTS)(weights=None, norm_layer=norm_layer)
        hidden = network.classifier[0]
        self.depth = depth
        self.feature_dim = hidden.out_features
        self.features = network.features
        self.conv = Conv2dNormActivation(
            hidden.in_features, hidden.out_features, 1, norm_layer=norm_layer, activation_layer=nn.ReLU6
        )
        init_convs(self.conv)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        refuse_options(cfg, "MobileNetV3", ("WITH_AIN",))
        ignore_options(cfg, "MobileNetV3", ("WITH_IBN", "WITH_SE", "WITH_NL"))
        return {"depth": cfg.MODEL.BACKBONE.DEPTH, "norm": cfg.MODEL.BACKBONE.NORM}

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.conv(self.features(images))
        return out

    def official_weights(self) -> OfficialWeights:
        """torchvision's."""
        return torchvision_weights(f"MobileNet_V3_{self.depth}_Weights.IMAGENET1K_V1")

    def convert_weights(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """torchvision's epsilon, and the first layer of its classifier as the last convolution, with a norm that
        changes nothing else than to add the bias."""
        if TORCHVISION_CLASSIFIER not in state:
            return state
        weight, bias = state[TORCHVISION_CLASSIFIER], state["classifier.0.bias"]
        return absorb_epsilon(state, TORCHVISION_EPSILON) | {
            "conv.0.weight": weight[:, :, None, None],
            "conv.1.weight": torch.ones_like(bias),
            "conv.1.bias": bias,
            "conv.1.running_mean": torch.zeros_like(bias),
            "conv.1.running_var": torch.ones_like(bias),
        }
