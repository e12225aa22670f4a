"""Evaluation during training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.evaluation.evaluator import EvaluationError, UnreadableImagesError
from fastreid_ext.registry import RegistryError
from fastreid_ext.utils.logger import get_logger

__all__ = ["EvalHook"]

Results = Mapping[str, Mapping[str, Any]]


class EvalHook(Hook):
    """Evaluates every `period` epochs and after the last, and records `<data set>/<metric>` scalars, those of
    other rankings than the plain one as `<data set>/<ranking>/<metric>`.

    Args:
        evaluate: gives results by data set.
        period: epochs; 0 evaluates after the last epoch only.
        before_training: evaluate the untrained model too.
        swapped: context in which the model holds the weights to evaluate, such as their moving average.

    Attributes:
        results: of the last evaluation.
        untrained: of the evaluation before training, empty without one.
        error: why the last evaluation failed, for whoever raises it when all is saved.
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
        self.error: Exception | None = None

    def before_train(self) -> None:
        if self.before_training and self.trainer.start_iteration == 0:
            self.untrained = self._try()

    def after_epoch(self) -> None:
        done = self.trainer.epoch
        if done == self.trainer.max_epochs or (self.period and done % self.period == 0):
            self.evaluate_now()
            self._record(done)

    def evaluate_now(self) -> None:
        """Evaluates the weights of now into `results`."""
        with self.swapped():
            self.results = self._try()

    def _try(self) -> Results:
        """A test set that cannot be evaluated must not end a long training before its model is saved."""
        self.error = None
        try:
            return self.evaluate()
        except EvaluationError as error:
            self._report(error)
            return error.results
        except (UnreadableImagesError, ValueError, OSError, ImportError, RegistryError) as error:
            self._report(error)
            return {}

    def _report(self, error: Exception) -> None:
        goes_on = ", training goes on" if self.trainer.iteration < self.trainer.max_iterations else ""
        get_logger(__name__).error(f"evaluation failed{goes_on}: {error}")
        self.error = error

    def _record(self, epoch: int) -> None:
        for dataset, metrics in self.results.items():
            rankings = {f"{dataset}/{name}": row for name, row in metrics.get("with", {}).items()}
            for label, row in {dataset: metrics, **rankings}.items():
                for name, value in row.items():
                    if isinstance(value, float):
                        self.trainer.storage.put_scalar(f"{label}/{name}", value, smooth=False)
                        self.trainer.storage.put_scalar(f"{label}/{name}/epoch", epoch, smooth=False)

    def state_dict(self) -> dict[str, Any]:
        return {"untrained": {dataset: dict(metrics) for dataset, metrics in self.untrained.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.untrained = state["untrained"]
