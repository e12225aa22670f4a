"""Networks as training leaves them, without training them."""

from __future__ import annotations

from torch import nn

__all__ = ["randomize_batch_norms"]


def randomize_batch_norms(model: nn.Module) -> None:
    """Draws statistics and affine parameters of all batch norms: those of a new network are the identity."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
