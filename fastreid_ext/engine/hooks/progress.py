"""The progress bar."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm

from fastreid_ext.engine.hooks.base import Hook

__all__ = ["ProgressBar"]


class ProgressBar(Hook):
    """Shows iterations, ETA, images a second and the losses of now on a terminal."""

    def before_train(self) -> None:
        self._bar: tqdm[Any] = tqdm(
            total=self.trainer.max_iterations, initial=self.trainer.start_iteration, unit="it", dynamic_ncols=True
        )

    def before_epoch(self) -> None:
        self._bar.set_description(f"epoch {self.trainer.epoch + 1}/{self.trainer.max_epochs}")

    def after_step(self) -> None:
        # The newest losses: tqdm limits how often they are drawn.
        storage = self.trainer.storage
        shown = {name.removeprefix("loss_"): storage.latest(name) for name in storage.names() if "loss" in name}
        shown["images/s"] = storage.latest("images_per_second")
        self._bar.set_postfix({name: f"{value:.3g}" for name, value in shown.items() if value is not None}, False)
        self._bar.update()

    def close(self) -> None:
        if hasattr(self, "_bar"):
            self._bar.close()
