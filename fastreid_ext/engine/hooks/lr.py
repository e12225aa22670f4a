"""The learning rate."""

from __future__ import annotations

from typing import Any

from torch.optim.lr_scheduler import LRScheduler as TorchScheduler

from fastreid_ext.engine.hooks.base import Hook

__all__ = ["LRScheduler"]


class LRScheduler(Hook):
    """Steps a schedule after every iteration and records the largest group's rate."""

    def __init__(self, scheduler: TorchScheduler) -> None:
        self.scheduler = scheduler

    def after_step(self) -> None:
        self.trainer.storage.put_scalar("lr", max(float(rate) for rate in self.scheduler.get_last_lr()), smooth=False)
        self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return {"scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scheduler.load_state_dict(state["scheduler"])
