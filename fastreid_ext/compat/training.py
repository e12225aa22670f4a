"""FastReID's trainer with PyTorch 2."""

from __future__ import annotations

import functools
import inspect
from typing import Any

from torch.optim import Optimizer

__all__ = ["keep_gradients", "trains"]

_KEEPS = "_keeps_gradients"


def keep_gradients(trainer: type[Any]) -> None:
    """Makes FastReID's trainer set gradients to zero instead of throwing them away.

    Its optimizers see one tensor that holds all weights, with a gradient that those of the weights are parts of.
    PyTorch 2.0 and later drops this gradient in `zero_grad()`, after which no step changes anything.

    Args:
        trainer: FastReID's `SimpleTrainer`, of which its `AMPTrainer` is a subclass.
    """
    if trains(trainer):
        return
    make = trainer.__init__

    @functools.wraps(make)
    def with_kept_gradients(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        self.optimizer.zero_grad = functools.partial(self.optimizer.zero_grad, set_to_none=False)

    trainer.__init__ = with_kept_gradients
    setattr(trainer, _KEEPS, True)


def trains(trainer: type[Any]) -> bool:
    """Whether steps of FastReID's trainer change weights."""
    by_default = inspect.signature(Optimizer.zero_grad).parameters["set_to_none"].default
    return not by_default or getattr(trainer, _KEEPS, False)
