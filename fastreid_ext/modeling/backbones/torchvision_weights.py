"""ImageNet weights that torchvision publishes."""

from __future__ import annotations

from collections.abc import Mapping

import torchvision.models
from torch import Tensor

from fastreid_ext.modeling.backbones.base import OfficialWeights

__all__ = ["torchvision_weights"]


def torchvision_weights(name: str) -> OfficialWeights:
    """The weights called `name` in torchvision, such as `ResNet50_Weights.IMAGENET1K_V1`, downloaded once."""
    weights = torchvision.models.get_weight(name)

    def fetch() -> Mapping[str, Tensor]:
        state: Mapping[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True)
        return state

    return OfficialWeights(f"{name} of torchvision ({weights.url})", fetch)
