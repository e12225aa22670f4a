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
        latest = self.trainer.storage.latest
        shown = {"loss": latest("total_loss"), "images/s": latest("images_per_second")}
        self._bar.set_postfix({name: f"{value:.4g}" for name, value in shown.items() if value is not None}, False)
        self._bar.update()

    def close(self) -> None:
        if hasattr(self, "_bar"):
            self._bar.close()
