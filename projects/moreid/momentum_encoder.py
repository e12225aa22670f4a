"""An encoder that follows another one slowly."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fastreid_ext.modeling.heads import features_by_branch, without_classifier

__all__ = ["SCHEDULES", "MomentumEncoder"]

SCHEDULES: dict[str, Callable[[float, float], float]] = {
    "constant": lambda momentum, progress: momentum,
    "cosine": lambda momentum, progress: 1 - (1 - momentum) * (1 + math.cos(math.pi * progress)) / 2,
}
"""The momentum after a share of the training, by name: as it is, or rising to 1 in half a cosine."""


class MomentumEncoder(nn.Module):
    """A copy of backbone and head, `f_k <- m f_k + (1 - m) f_q`; no gradient reaches it.

    Batch norms take the statistics of the batch, as those of the main encoder do in training; all buffers are copied.

    Args:
        backbone: of the main encoder; left as it is.
        heads: of the main encoder; left as it is. Classifiers are not copied if the head can do without.
    """

    def __init__(self, backbone: nn.Module, heads: nn.Module) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone)
        self.heads = without_classifier(heads)
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, images: Tensor, pids: Tensor) -> dict[str, Tensor]:
        """Features by branch of the head; "" is the name of the only one.

        Shape:
            images: (B, 3, H, W), normalised. pids: (B,).
            Results: (B, D).
        """
        return features_by_branch(self.heads(self.backbone(images), pids))

    @torch.no_grad()
    def follow(self, backbone: nn.Module, heads: nn.Module, momentum: float) -> None:
        """Moves the weights towards the main encoder's, and copies its buffers.

        Args:
            backbone: of the main encoder.
            heads: of the main encoder.
            momentum: m, the weight of the old weights; 0 copies the new ones.
        """
        for own, main in ((self.backbone, backbone), (self.heads, heads)):
            weights, buffers = dict(main.named_parameters()), dict(main.named_buffers())
            followers = dict(own.named_parameters())
            if followers:
                average = get_ema_multi_avg_fn(momentum)  # type: ignore[no-untyped-call]  # torch leaves it untyped
                average(list(followers.values()), [weights[name] for name in followers], 0)
            for name, buffer in own.named_buffers():
                buffer.copy_(buffers[name])

    def take_modes(self, backbone: nn.Module, heads: nn.Module) -> None:
        """Makes parts that are fixed in the main encoder, and so in evaluation mode there, fixed here."""
        for own, main in ((self.backbone, backbone), (self.heads, heads)):
            modules = dict(main.named_modules())
            for name, module in own.named_modules():
                module.training = modules[name].training
