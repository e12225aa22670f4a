"""Initial weights."""

from __future__ import annotations

from torch import nn

__all__ = ["init_convs"]


def init_convs(module: nn.Module) -> None:
    """Draws the weights of all convolutions below `module` for ReLU networks, biases zero (He et al., ICCV 2015).

    Norms start as the identity by themselves and are left as they are.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
