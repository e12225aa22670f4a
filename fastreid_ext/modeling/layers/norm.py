"""Normalisation layers, chosen by FastReID's names.

All work on maps `(B, C, h, w)` and, as the norm of a head, on pooled features `(B, C, 1, 1)`. All batch norms have
the same state names, so that weights move between them.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastreid_ext.registry import Registry
from fastreid_ext.utils.dist import gather, get_world_size

__all__ = [
    "NORMS",
    "FrozenBatchNorm",
    "GhostBatchNorm",
    "SyncBatchNorm",
    "build_norm",
    "convert_norms",
    "is_linear_in_evaluation",
]

NORMS = Registry("norm")
"""Called as `norm(channels, **options)`; the module keeps the shape of its input."""


def build_norm(name: str, channels: int, **options: Any) -> nn.Module:
    """Makes the norm registered as `name`: BN, syncBN, GhostBN, FrozenBN, GN or a registered one of yours.

    Raises:
        RegistryError: no norm of that name.
    """
    norm: nn.Module = NORMS.get(name)(channels, **options)
    return norm


def convert_norms(module: nn.Module, name: str) -> None:
    """Puts new norms called `name` in place of all `nn.BatchNorm2d` below `module`."""
    for key, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(module, key, build_norm(name, child.num_features))
        else:
            convert_norms(child, name)


NORMS.register("BN", source="Ioffe & Szegedy 2015")(nn.BatchNorm2d)


@NORMS.register("syncBN", source="Peng et al. 2018")
class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all processes, on GPUs and CPUs.

    torch's own class works on GPUs only, and DistributedDataParallel refuses it elsewhere.

    Shape:
        x: (B, C, ...); B may differ between processes.
        returns: as `x`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or get_world_size() == 1:
            return super().forward(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        values = x.to(self.weight.dtype)
        count = values.new_full((1,), x.numel() / x.shape[1])
        totals = gather(torch.cat([values.sum(axes), count])[None]).sum(0)
        mean, count = totals[:-1] / totals[-1], totals[-1].detach()
        centred = values - mean.view(shape)
        variance = gather(centred.square().sum(axes)[None]).sum(0) / count
        self._update(mean.detach(), variance.detach() * count / (count - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        # As torch's norms: without a momentum, the average of all batches.
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased_variance.to(self.running_var.dtype), momentum)


@NORMS.register("GhostBN", source="Hoffer et al. 2017")
class GhostBatchNorm(nn.BatchNorm2d):
    """Batch norm whose training statistics come from `num_splits` equal parts of the batch, each for itself.

    With one part, FastReID's only setting, it is batch norm. The parts interleave: sample b belongs to part
    `b % num_splits`, so that a batch sorted by identity gives parts of many identities.

    Shape:
        x: (B, C, h, w), in training B a multiple of `num_splits`.
        returns: as `x`.

    Raises:
        ValueError: B is no multiple of `num_splits` in training.
    """

    def __init__(self, num_features: int, num_splits: int = 1) -> None:
        super().__init__(num_features)
        self.num_splits = num_splits

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.num_splits == 1:
            return super().forward(x)
        if x.shape[0] % self.num_splits:
            raise ValueError(
                f"GhostBN cannot cut a batch of {x.shape[0]} into num_splits={self.num_splits} equal parts"
            )
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        mean, var = self.running_mean.repeat(self.num_splits), self.running_var.repeat(self.num_splits)
        weight, bias = self.weight.repeat(self.num_splits), self.bias.repeat(self.num_splits)
        parts = x.reshape(-1, self.num_splits * x.shape[1], *x.shape[2:])
        normed = F.batch_norm(parts, mean, var, weight, bias, True, self.momentum, self.eps)
        self.running_mean.copy_(mean.view(self.num_splits, -1).mean(0))
        self.running_var.copy_(var.view(self.num_splits, -1).mean(0))
        self.num_batches_tracked += 1
        return normed.view_as(x)


@NORMS.register("FrozenBN", source="He et al. 2016")
class FrozenBatchNorm(nn.BatchNorm2d):
    """Batch norm that always uses its loaded statistics and does not learn.

    Shape:
        x: (B, C, h, w).
        returns: as `x`.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenBatchNorm:
        """Stays in evaluation mode."""
        super().train(False)
        return self


def is_linear_in_evaluation(norm: nn.Module) -> bool:
    """Whether it is a batch norm of torch or of ours with statistics, all of which do the same in evaluation."""
    # Exactly these: a subclass of yours may do something else.
    kinds = (nn.BatchNorm2d, nn.SyncBatchNorm, SyncBatchNorm, GhostBatchNorm, FrozenBatchNorm)
    return type(norm) in kinds and norm.running_mean is not None


@NORMS.register("GN", source="Wu & He 2018")
def group_norm(channels: int, groups: int = 32) -> nn.GroupNorm:
    """Group norm with 32 groups, or as many of them as divide the channels."""
    return nn.GroupNorm(math.gcd(groups, channels), channels)
