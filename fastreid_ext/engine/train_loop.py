"""The training loop: `TrainerBase` loops, `SimpleTrainer` and `AMPTrainer` step.

for iteration in range(start, end):
    hooks.before_step()
    trainer.run_step()          # batch -> losses -> gradients -> optimizer
    hooks.after_step()
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.utils.events import EventStorage

__all__ = ["AMPTrainer", "NonFiniteLossError", "SimpleTrainer", "TrainerBase"]

Batch = dict[str, Any]
Clipper = Callable[[Iterable[nn.Parameter]], Tensor | None]


class NonFiniteLossError(FloatingPointError):
    """A loss was NaN or infinite; `iteration`, `losses` and `img_paths` tell where."""

    def __init__(self, iteration: int, losses: dict[str, float], img_paths: list[str]) -> None:
        self.iteration, self.losses, self.img_paths = iteration, losses, img_paths
        shown = ", ".join(f"{name} = {value}" for name, value in losses.items())
        super().__init__(f"loss is not finite at iteration {iteration}: {shown}; images: {', '.join(img_paths)}")


class TrainerBase:
    """Runs hooks around steps and counts iterations and epochs.

    Attributes:
        iteration: the current one, from 0; for hooks after a step the number of steps done.
        start_iteration: the first one of this run.
        max_iterations: one past the last.
        iters_per_epoch: iterations an epoch.
        storage: the run's figures.
    """

    def __init__(self, iters_per_epoch: int, max_epochs: int) -> None:
        self.iters_per_epoch = iters_per_epoch
        self.max_epochs = max_epochs
        self.max_iterations = iters_per_epoch * max_epochs
        self.start_iteration = self.iteration = 0
        self.hooks: list[Hook] = []
        self.storage = EventStorage()

    @property
    def epoch(self) -> int:
        """The current epoch, from 0."""
        return self.iteration // self.iters_per_epoch

    def register_hooks(self, hooks: Iterable[Hook]) -> None:
        """Adds hooks behind those that are there."""
        for hook in hooks:
            hook.trainer = self
            self.hooks.append(hook)

    def train(self) -> None:
        """Runs from `start_iteration` to the end; hooks are closed whatever happens."""
        self.iteration = self.start_iteration
        with EventStorage(self.start_iteration) as self.storage:
            try:
                self._call("before_train")
                while self.iteration < self.max_iterations:
                    self._run_epoch()
                self._call("after_train")
            finally:
                for hook in self.hooks:
                    hook.close()

    def run_step(self) -> None:
        """One optimizer step."""
        raise NotImplementedError

    def restart_batches(self) -> None:
        """Drops batches that were made ahead, where a loop has such, because others are to follow."""

    def _run_epoch(self) -> None:
        self.storage.epoch = self.epoch
        self._call("before_epoch")
        end = (self.epoch + 1) * self.iters_per_epoch
        while self.iteration < end:
            self.storage.iteration = self.iteration
            self._call("before_step")
            self.run_step()
            # Counted before the hooks: what they save is the state after `iteration` steps.
            self.iteration += 1
            self._call("after_step")
        self._call("after_epoch")

    def _call(self, event: str) -> None:
        for hook in self.hooks:
            getattr(hook, event)()


class SimpleTrainer(TrainerBase):
    """The plain step: forward, backward, optimizer, in the model's own precision.

    Args:
        model: returns a dict of scalar losses for a batch; their sum is minimised.
        loader: endless batches; with `accumulation_steps` each step takes as many of them.
        clip_gradients: called with the parameters before each optimizer step.
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Iterable[Batch],
        optimizer: Optimizer,
        *,
        iters_per_epoch: int,
        max_epochs: int,
        accumulation_steps: int = 1,
        clip_gradients: Clipper | None = None,
    ) -> None:
        super().__init__(iters_per_epoch, max_epochs)
        self.model, self.loader, self.optimizer = model, loader, optimizer
        self.accumulation_steps = accumulation_steps
        self.clip_gradients = clip_gradients
        self._batches: Iterator[Batch] | None = None

    def train(self) -> None:
        self.model.train()
        super().train()

    def run_step(self) -> None:
        """Forward and backward of `accumulation_steps` batches, then one optimizer step."""
        if self._batches is None:
            self._batches = iter(self.loader)
        self.optimizer.zero_grad(set_to_none=True)
        started, data_time = time.perf_counter(), 0.0
        totals: dict[str, float] = {}
        for part in range(self.accumulation_steps):
            wait = time.perf_counter()
            batch = next(self._batches)
            data_time += time.perf_counter() - wait
            with self._sync(last=part == self.accumulation_steps - 1):
                losses = self.forward_backward(batch)
            for name, value in losses.items():
                totals[name] = totals.get(name, 0.0) + value / self.accumulation_steps
        self._call("after_backward")
        self.update()
        self.storage.put_scalar("data_time", data_time)
        self.storage.put_scalar("time", time.perf_counter() - started)
        self.storage.put_scalars({"total_loss": sum(totals.values()), **totals})

    def restart_batches(self) -> None:
        """Drops batches that were made ahead; the next step takes a new iterator of the loader."""
        if isinstance(self._batches, Generator):
            self._batches.close()
        self._batches = None

    def forward_backward(self, batch: Batch) -> dict[str, float]:
        """Adds the batch's gradients and returns its losses.

        Raises:
            NonFiniteLossError: a loss is NaN or infinite; no weight has changed in this step.
        """
        with self.autocast():
            losses: dict[str, Tensor] = self.model(batch)
            total = torch.stack(list(losses.values())).sum() / self.accumulation_steps
        read = _read_later(losses)
        self.backward(total)
        # The host waits here only for the forward pass: the backward pass is already in the GPU's queue.
        values = read()
        if not all(math.isfinite(value) for value in values.values()):
            raise NonFiniteLossError(self.iteration, values, list(batch.get("img_paths", [])))
        return values

    def autocast(self) -> AbstractContextManager[Any]:
        """Context of the forward pass."""
        return nullcontext()

    def backward(self, total: Tensor) -> None:
        """Backward pass of the summed losses."""
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped

    def update(self) -> None:
        """Clips and steps."""
        if self.clip_gradients is not None:
            self.clip_gradients(self.model.parameters())
        self.step(self.optimizer)

    def step(self, optimizer: Optimizer) -> None:
        """A step of an optimizer with the gradients that `backward` left."""
        optimizer.step()

    def _sync(self, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged in the last pass of a step only."""
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return nullcontext()


class AMPTrainer(SimpleTrainer):
    """The step in mixed precision.

    Args:
        dtype: of autocast. float16 gradients are scaled against underflow, bfloat16 ones need not be.
        device_type: "cuda" or "cpu".
    """

    def __init__(self, *args: Any, dtype: torch.dtype, device_type: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.dtype, self.device_type = dtype, device_type
        self.scaler = torch.amp.GradScaler(device_type, enabled=dtype == torch.float16)

    def autocast(self) -> AbstractContextManager[Any]:
        return torch.autocast(self.device_type, self.dtype)

    def backward(self, total: Tensor) -> None:
        self.scaler.scale(total).backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped

    def update(self) -> None:
        if self.clip_gradients is not None:
            self.scaler.unscale_(self.optimizer)
            self.clip_gradients(self.model.parameters())
        self.step(self.optimizer)

    def step(self, optimizer: Optimizer) -> None:
        self.scaler.step(optimizer)
        self.scaler.update()


def _read_later(losses: dict[str, Tensor]) -> Callable[[], dict[str, float]]:
    """Starts copying the losses to the host; the returned function waits for the copy."""
    stacked = torch.stack([loss.detach().float() for loss in losses.values()])
    if not stacked.is_cuda:
        return lambda: dict(zip(losses, stacked.tolist(), strict=True))
    host = torch.empty(stacked.shape, dtype=stacked.dtype, pin_memory=True)
    host.copy_(stacked, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    # The copy is on the stream of the losses' device, which need not be the current one.
    copied.record(torch.cuda.current_stream(stacked.device))

    def read() -> dict[str, float]:
        copied.synchronize()
        return dict(zip(losses, host.tolist(), strict=True))

    return read
