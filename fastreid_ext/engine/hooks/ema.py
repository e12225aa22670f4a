"""A moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.engine.hooks.base import Hook

__all__ = ["WeightAverage"]


class WeightAverage(Hook):
    """Averages the weights exponentially after every step; buffers are copied.

    Evaluations and `model_best.pth` take the averaged weights (see `swapped`), training goes on with its own.

    Args:
        model: the model that is trained.
        momentum: weight of the old average.
    """

    def __init__(self, model: nn.Module, momentum: float) -> None:
        self.model, self.momentum = model, momentum
        self.average: dict[str, Tensor] = {}

    def before_train(self) -> None:
        if not self.average:
            self.average = {name: value.detach().clone() for name, value in self.model.state_dict().items()}

    @torch.no_grad()
    def after_step(self) -> None:
        parameters = dict(self.model.named_parameters())
        for name, value in self.model.state_dict().items():
            if name in parameters:
                self.average[name].lerp_(value.detach(), 1 - self.momentum)
            else:
                self.average[name].copy_(value)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The model holds the averaged weights inside the block."""
        own = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.average)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        return {"average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        own = self.model.state_dict()
        self.average = {name: value.to(own[name].device, copy=True) for name, value in state["average"].items()}
