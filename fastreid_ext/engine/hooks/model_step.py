"""What a model does after each step beside the optimizer."""

from __future__ import annotations

from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.modeling.meta_arch import ReIDModel

__all__ = ["ModelStep"]


class ModelStep(Hook):
    """Calls the model's `after_step` with the share of the training that is done.

    Args:
        model: the bare model.
    """

    def __init__(self, model: ReIDModel) -> None:
        self.model = model

    def after_step(self) -> None:
        self.model.after_step(self.trainer.iteration / self.trainer.max_iterations)
