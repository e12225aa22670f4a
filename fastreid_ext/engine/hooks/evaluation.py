"""Evaluation during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastreid_ext.engine.hooks.base import Hook

__all__ = ["EvalHook"]

Results = Mapping[str, Mapping[str, Any]]


class EvalHook(Hook):
    """Evaluates every `period` epochs and after the last, and records `<data set>/<metric>` scalars.

    Args:
        evaluate: gives results by data set.
        period: epochs; 0 evaluates after the last epoch only.
        before_training: evaluate the untrained model too.
        swapped: context in which the model holds the weights to evaluate, such as their moving average.

    Attributes:
        results: of the last evaluation.
        untrained: of the evaluation before training, empty without one.
    """

    def __init__(
        self,
        evaluate: Callable[[], Results],
        period: int,
        *,
        before_training: bool = False,
        swapped: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.evaluate, self.period, self.before_training, self.swapped = evaluate, period, before_training, swapped
        self.results: Results = {}
        self.untrained: Results = {}

    def before_train(self) -> None:
        if self.before_training and self.trainer.start_iteration == 0:
            self.untrained = self.evaluate()

    def after_epoch(self) -> None:
        done = self.trainer.epoch
        if done == self.trainer.max_epochs or (self.period and done % self.period == 0):
            with self.swapped():
                self.results = self.evaluate()
            self._record(done)

    def _record(self, epoch: int) -> None:
        for dataset, metrics in self.results.items():
            for name, value in metrics.items():
                if isinstance(value, float):
                    self.trainer.storage.put_scalar(f"{dataset}/{name}", value, smooth=False)
                    self.trainer.storage.put_scalar(f"{dataset}/{name}/epoch", epoch, smooth=False)

    def state_dict(self) -> dict[str, Any]:
        return {"untrained": {dataset: dict(metrics) for dataset, metrics in self.untrained.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.untrained = state["untrained"]
