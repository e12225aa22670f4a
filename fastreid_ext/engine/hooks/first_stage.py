"""The first epochs of a training, with losses of their own."""

from __future__ import annotations

from torch.optim import Optimizer

from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.modeling.losses import Criterion

__all__ = ["FirstStage"]


class FirstStage(Hook):
    """Tells the criterion which losses count, and lets optimizer and smoothed figures forget when the stage ends.

    All follows from the iteration alone, so that a run that was resumed in either stage equals one that was not.

    Args:
        criterion: with the losses of both stages.
        optimizer: starts the second stage without moments of the first.
        iterations: of the first stage.
    """

    def __init__(self, criterion: Criterion, optimizer: Optimizer, iterations: int) -> None:
        self.criterion, self.optimizer, self.iterations = criterion, optimizer, iterations

    def before_step(self) -> None:
        self.criterion.choose_stage(first=self.trainer.iteration < self.iterations)
        if self.trainer.iteration == self.iterations:
            self.optimizer.state.clear()
            self.trainer.storage.forget_histories()

    def close(self) -> None:
        self.criterion.choose_stage(first=False)
