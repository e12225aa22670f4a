"""Where the figures of a training go: log lines, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
import math
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.utils.files import atomic_write
from fastreid_ext.utils.logger import get_logger

__all__ = ["PeriodicWriter"]

_OF_TIME = {"time": "step", "data_time": "data", "images_per_second": "images_per_second"}


class PeriodicWriter(Hook):
    """Writes the storage's scalars every `period` iterations, and what is new after an epoch, such as an evaluation.

    Args:
        output_dir: for `metrics.jsonl` (appended to by a resumed run) and TensorBoard's event files.
        period: iterations.
        file_only: keep the log lines from the console, where a progress bar shows the same.

    Attributes:
        tensorboard: of the run while it trains, for other hooks; None before.
    """

    def __init__(self, output_dir: str | Path, period: int, *, file_only: bool = False) -> None:
        self.output_dir, self.period, self.file_only = Path(output_dir), period, file_only
        self.tensorboard: SummaryWriter | None = None
        self._written = 0

    def before_train(self) -> None:
        self.output_dir.mkdir(parents=True, exist_ok=True)
        path = self.output_dir / "metrics.jsonl"
        _drop_lines_from(path, self.trainer.start_iteration)
        self._file = path.open("a", encoding="utf-8")
        self.tensorboard = SummaryWriter(str(self.output_dir), purge_step=self.trainer.start_iteration)

    def after_step(self) -> None:
        done = self.trainer.iteration
        if done % self.period == 0 or done == self.trainer.max_iterations:
            self.write()

    def after_epoch(self) -> None:
        self.write()

    def after_train(self) -> None:
        self.write()

    def write(self) -> None:
        """Writes the scalars that were recorded since the last time."""
        storage = self.trainer.storage
        scalars = storage.smoothed(since=self._written)
        self._written = storage.version
        scalars = {name: value for name, value in scalars.items() if not name.endswith("/epoch")}
        if not scalars:
            return
        line = {"iteration": storage.iteration, "epoch": storage.epoch, **scalars}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        if self.tensorboard is not None:
            for name, value in scalars.items():
                self.tensorboard.add_scalar(_grouped(name), value, storage.iteration)
        if "total_loss" in scalars:
            get_logger(__name__).info(self._line(scalars), extra={"file_only": self.file_only})

    def close(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()
        if self.tensorboard is not None:
            self.tensorboard.close()

    def _line(self, scalars: dict[str, float]) -> str:
        done, total = self.trainer.iteration, self.trainer.max_iterations
        left = (total - done) * scalars.get("time", math.nan)
        losses = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items() if "loss" in name)
        return (
            f"epoch {self.trainer.storage.epoch + 1}/{self.trainer.max_epochs}  iteration {done}/{total}  "
            f"{losses}  lr {scalars.get('lr', math.nan):.2e}  "
            f"{scalars.get('images_per_second', math.nan):.0f} images/s  ETA {_duration(left)}"
        )


def _grouped(name: str) -> str:
    """The tag of a scalar: TensorBoard shows under one heading what is equal up to the first slash."""
    if "/" in name:
        dataset, _, figure = name.rpartition("/")
        # Folders in the options of a data set are no headings.
        return f"{dataset.replace('/', '_') if ':' in dataset else dataset}/{figure}"
    if "loss" in name:
        return f"loss/{name.replace('_loss', '').replace('loss_', '')}"
    return f"time/{_OF_TIME[name]}" if name in _OF_TIME else name


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def _drop_lines_from(path: Path, iteration: int) -> None:
    """A resumed run repeats what came after its checkpoint: those lines, and one cut short by a kill, go."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["iteration"] < iteration:
                kept.append(line + "\n")
        except json.JSONDecodeError:
            continue
    with atomic_write(path) as file:
        file.write("".join(kept))
