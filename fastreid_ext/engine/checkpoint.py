"""Checkpoint files: written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from fastreid_ext.modeling.checkpoint import CheckpointError, KeyReport, load_weights, read_checkpoint
from fastreid_ext.utils.files import atomic_write
from fastreid_ext.utils.logger import get_logger

__all__ = ["CheckpointError", "Checkpointer", "KeyReport", "load_weights", "read_checkpoint"]


class Checkpointer:
    """The checkpoint files of an output folder.

    `last_checkpoint` holds the name of the newest whole file.
    """

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        self.output_dir = Path(output_dir)

    def save(self, name: str, state: Mapping[str, Any], *, resumable: bool = True) -> Path:
        """Writes `<name>.pth`; a crash, a kill or a full disk leaves the file of before.

        Args:
            name: without suffix.
            state: tensors, numbers, strings, and lists and dicts of them.
            resumable: point `last_checkpoint` to it.

        Raises:
            OSError: it could not be written.
        """
        path = self.output_dir / f"{name}.pth"
        try:
            with atomic_write(path, "wb") as file:
                torch.save(dict(state), file)
        except (OSError, RuntimeError) as error:
            # torch's archive writer may hide what the system said behind a RuntimeError.
            raise OSError(f"cannot write {path}: {error}") from error
        if resumable:
            with atomic_write(self.output_dir / "last_checkpoint") as file:
                file.write(path.name + "\n")
        return path

    def load_last(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint that can be read, or `None` where there is none to resume from."""
        for path in self._candidates():
            try:
                return path, read_checkpoint(path)
            except CheckpointError as error:
                get_logger(__name__).warning(f"{error}; trying the one before")
        return None

    def start_anew(self) -> None:
        """Tells a later resume that the checkpoints here are of an earlier run, which this one will overwrite."""
        pointer = self.output_dir / "last_checkpoint"
        if pointer.is_file():
            get_logger(__name__).warning(f"{self.output_dir} holds an earlier run, whose files this run overwrites")
            pointer.unlink()

    def _candidates(self) -> Iterator[Path]:
        pointer = self.output_dir / "last_checkpoint"
        if not pointer.is_file():
            return
        pointed = self.output_dir / pointer.read_text(encoding="utf-8").strip()
        others = sorted(self.output_dir.glob("model_*.pth"), key=lambda path: path.stat().st_mtime, reverse=True)
        resumable = [path for path in others if path.stem not in ("model_best", "model_nonfinite")]
        yield from dict.fromkeys([pointed, *resumable])
