"""Batch-norm statistics of the final weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.utils.logger import get_logger

__all__ = ["PreciseBN", "update_bn_statistics"]


class PreciseBN(Hook):
    """Before each evaluation, replaces running statistics by true averages over training batches.

    Args:
        model: its batch norms are updated.
        loader: makes the batches anew for each update, so that training sees the batches it would see without.
        num_iterations: how many batches to average.
        period: epochs between updates, that of the evaluations; 0 updates after the last epoch only.
    """

    def __init__(self, model: nn.Module, loader: Iterable[dict[str, Any]], num_iterations: int, period: int) -> None:
        self.model, self.loader, self.num_iterations, self.period = model, loader, num_iterations, period

    def after_epoch(self) -> None:
        done = self.trainer.epoch
        if done == self.trainer.max_epochs or (self.period and done % self.period == 0):
            get_logger(__name__).info(f"averaging batch-norm statistics over {self.num_iterations} batches")
            update_bn_statistics(self.model, self.loader, self.num_iterations)


@torch.no_grad()
def update_bn_statistics(model: nn.Module, batches: Iterable[dict[str, Any]], num_iterations: int) -> None:
    """Sets every training batch norm's running mean and variance to their averages over the batches that it saw.

    Args:
        model: called with each batch in training mode; weights stay as they are.
        batches: at least `num_iterations` of them.
        num_iterations: how many to take.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    norms = [norm for norm in norms if norm.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    before = [{name: buffer.clone() for name, buffer in norm.named_buffers()} for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        # None accumulates the plain average.
        norm.momentum = None
    try:
        for _, batch in zip(range(num_iterations), batches, strict=False):
            model(batch)
    finally:
        for norm, momentum, buffers in zip(norms, momenta, before, strict=True):
            norm.momentum = momentum
            # Such as those of an encoder that the model did not call.
            if norm.num_batches_tracked == 0:
                norm.load_state_dict(buffers, strict=False)
