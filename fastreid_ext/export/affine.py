"""Batch norms that no convolution takes in."""

from __future__ import annotations

from torch import Tensor, nn

from fastreid_ext.modeling.layers.norm import is_linear_in_evaluation

__all__ = ["Affine", "replace_batch_norms"]


class Affine(nn.Module):
    """What a batch norm does once trained: a factor and a term for each channel.

    Args:
        norm: `is_linear_in_evaluation`.

    Shape:
        x: (B, C, h, w).
        returns: (B, C, h, w).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        scale = (norm.running_var + norm.eps).rsqrt()
        # Without parameters of its own, a norm has none of these.
        scale = scale if norm.weight is None else scale * norm.weight
        shift = -norm.running_mean * scale
        shift = shift if norm.bias is None else shift + norm.bias
        self.register_buffer("scale", scale.detach().view(1, -1, 1, 1))
        self.register_buffer("shift", shift.detach().view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale + self.shift


def replace_batch_norms(model: nn.Module) -> None:
    """Puts an `Affine` in place of each trained batch norm: exporters of some versions have no operator for these."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if is_linear_in_evaluation(child):
                assert isinstance(child, nn.BatchNorm2d)
                setattr(module, name, Affine(child))
