"""The architecture weights over the epochs of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastreid_ext.engine.hooks import Hook
from fastreid_ext.projects.msinet.search.plot import can_plot, plot_history
from fastreid_ext.projects.msinet.search.supernet import MSISupernet
from fastreid_ext.utils.files import write_json
from fastreid_ext.utils.logger import get_logger

__all__ = ["ArchitectureHistory"]


class ArchitectureHistory(Hook):
    """Records the weights of all operations in all layers before the first epoch and after each one.

    `architecture.json` is written every epoch: `operations` (letters), `epochs`, and `weights`, a list of layers of
    operations for each epoch. `architecture.png` shows them.

    Args:
        supernet: whose weights.
        output_dir: where to.
        draw_period: epochs between two pictures; 0 draws none but the last.
        main_process: whether this process writes.
    """

    def __init__(
        self, supernet: MSISupernet, output_dir: str | Path, *, draw_period: int = 0, main_process: bool = True
    ) -> None:
        self.supernet, self.output_dir = supernet, Path(output_dir)
        self.draw_period, self.main_process = draw_period, main_process
        self.epochs: list[int] = []
        self.weights: list[list[list[float]]] = []

    def before_train(self) -> None:
        if self.main_process and not can_plot():
            get_logger(__name__).warning(
                "matplotlib cannot be imported: architecture.json is written, its picture is not. "
                "pip install 'fastreid_ext[viz]', then --resume draws it"
            )
        if not self.epochs:
            self._record(0)

    def after_epoch(self) -> None:
        done = self.trainer.epoch
        self._record(done)
        if self.main_process:
            self.write(draw=bool(self.draw_period) and done % self.draw_period == 0)

    def write(self, *, draw: bool) -> None:
        """Writes the file and, where asked for and matplotlib is there, the picture."""
        history = {"operations": self.supernet.operations, "epochs": self.epochs, "weights": self.weights}
        write_json(self.output_dir / "architecture.json", history)
        if draw and can_plot():
            plot_history(self.epochs, self.weights, self.supernet.operations, self.output_dir / "architecture.png")

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "weights": self.weights}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs, self.weights = list(state["epochs"]), list(state["weights"])

    def _record(self, epoch: int) -> None:
        self.epochs.append(epoch)
        self.weights.append(self.supernet.architecture_weights().tolist())
