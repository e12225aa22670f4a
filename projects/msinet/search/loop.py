"""The alternating step of the search: weights on the training split, then architecture on the validation split."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from fastreid_ext.engine.train_loop import AMPTrainer, Batch, NonFiniteLossError, SimpleTrainer
from fastreid_ext.projects.msinet.search.network import SearchNetwork
from fastreid_ext.utils.dist import average_gradients

__all__ = ["MixedSearchLoop", "SearchLoop"]


class SearchLoop(SimpleTrainer):
    """First-order alternation (section 3.1): the gradient of the architecture takes the updated weights as given.

    Each iteration: the weights learn from a training batch, the training memory takes its features, the architecture
    learns from a validation batch, the validation memory takes its features.
    """

    network: SearchNetwork
    validation_loader: Iterable[Batch]
    architecture_optimizer: Optimizer
    architecture_schedule: LRScheduler
    _validation_batches: Iterator[Batch] | None = None

    def learn_architecture(
        self, network: SearchNetwork, loader: Iterable[Batch], optimizer: Optimizer, schedule: LRScheduler
    ) -> None:
        """Says what the second half of a step works on.

        Args:
            network: the bare model, without the wrapper that exchanges the weights' gradients.
            loader: endless validation batches.
            optimizer: of the architecture.
            schedule: of its learning rate, stepped once an iteration.
        """
        self.network, self.validation_loader = network, loader
        self.architecture_optimizer, self.architecture_schedule = optimizer, schedule

    def run_step(self) -> None:
        super().run_step()
        self.network.remember()
        self._architecture_step()
        self.network.remember()

    def _architecture_step(self) -> None:
        if self._validation_batches is None:
            self._validation_batches = iter(self.validation_loader)
        total = 0.0
        with self.network.learning_architecture() as architecture:
            for _ in range(self.accumulation_steps):
                batch = next(self._validation_batches)
                with self.autocast():
                    ((name, loss),) = self.network(batch).items()
                self.backward(loss / self.accumulation_steps)
                value = float(loss.detach())
                if not math.isfinite(value):
                    paths = list(batch.get("img_paths", []))
                    raise NonFiniteLossError(self.iteration, {f"validation {name}": value}, paths)
                total += value / self.accumulation_steps
        average_gradients(architecture)
        self.step(self.architecture_optimizer)
        # Gradients that stayed would count when those of the weights are clipped.
        self.architecture_optimizer.zero_grad(set_to_none=True)
        self.architecture_schedule.step()
        self.storage.put_scalar(f"validation_{name}", total)


class MixedSearchLoop(SearchLoop, AMPTrainer):
    """The same in mixed precision."""
