"""Checkpoints: written whole or not at all, loaded without running code from them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.checkpoint_filters import filtered_weights
from fastreid_ext.modeling.meta_arch import ReIDModel
from fastreid_ext.utils.download import DownloadError, local_file
from fastreid_ext.utils.files import atomic_write
from fastreid_ext.utils.logger import get_logger

__all__ = ["CheckpointError", "Checkpointer", "KeyReport", "load_weights", "read_checkpoint"]

# Classifiers: their shape follows the training data, and no feature depends on them.
_CLASSIFIER = re.compile(r"(heads|\w+_head)\.(\w+_branch\.)?(weight|cls_layer\..*)(\s|$)")
_ONE_CHANNEL = re.compile(r"\bNL_\d\.\d+\.theta\.weight \(1, ")


class CheckpointError(Exception):
    """A checkpoint that cannot be read or does not fit; the message says why."""


@dataclass
class KeyReport:
    """How the weights of a checkpoint fit a model; `filter` is what knew their names, if they are of other code."""

    loaded: int = 0
    filter: str = ""
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    other_shape: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether every key of the model was found, and no other."""
        return not (self.missing or self.unexpected or self.other_shape)

    def __str__(self) -> str:
        parts = [f"{self.loaded} tensors loaded" + (f", renamed by the filter '{self.filter}'" if self.filter else "")]
        for title, keys in (
            ("not in the checkpoint, left as initialised", self.missing),
            ("not in the model, passed over", self.unexpected),
            ("of another shape, passed over", self.other_shape),
        ):
            if keys:
                shown = ", ".join(keys[:8]) + (f" and {len(keys) - 8} more" if len(keys) > 8 else "")
                parts.append(f"{len(keys)} {title}: {shown}")
        if any(_ONE_CHANNEL.search(line) for line in self.other_shape):
            parts.append("its non-local blocks are FastReID's: set COMPAT.ONE_CHANNEL_NON_LOCAL True")
        return "; ".join(parts)


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


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads a checkpoint onto the CPU, data only: no code of it is run.

    Args:
        path: of a file, or its URL.

    Raises:
        CheckpointError: the file is missing, cut short, or holds more than data, or the URL cannot be downloaded.
    """
    try:
        file = local_file(path)
    except DownloadError as error:
        raise CheckpointError(str(error)) from error
    if not file.is_file():
        raise CheckpointError(f"no checkpoint {file.absolute()}")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... for what is not whole
        raise CheckpointError(f"cannot read checkpoint {path}: {type(error).__name__}: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {path} holds a {type(state).__name__}, not a dict")
    return state


def load_weights(
    model: nn.Module,
    state: Mapping[str, Any],
    *,
    source: str = "the checkpoint",
    for_inference: bool = False,
    memories: bool = True,
) -> KeyReport:
    """Copies weights by name from `{"model": weights}` or the weights themselves; FastReID's and DDP's files included,
    and those of other code that a filter knows (`CHECKPOINT_FILTERS`).

    Args:
        model: keeps its own values where the checkpoint has none that fit.
        state: a checkpoint.
        source: its name, for errors.
        for_inference: everything but classifiers must fit, since figures of half a model mean nothing.
        memories: also what a model remembers of images; not for another training than the one that was saved.

    Raises:
        CheckpointError: no weight of the backbone fits, or for inference some weight does not.
    """
    weights = state.get("model", state.get("state_dict", state))
    weights = {
        name.removeprefix("module."): torch.as_tensor(value)
        for name, value in weights.items()
        if not isinstance(value, (str, dict, list))
    }
    weights, known_by = filtered_weights(weights, model)
    own = model.state_dict()
    if not memories and isinstance(model, ReIDModel):
        forgotten = tuple(f"{part}." for part in model.memories)
        own, weights = (_without(forgotten, names) for names in (own, weights))
    report = KeyReport(filter=known_by)
    fitting: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name not in own:
            report.unexpected.append(name)
        elif own[name].shape != value.shape:
            report.other_shape.append(f"{name} {tuple(value.shape)} instead of {tuple(own[name].shape)}")
        else:
            fitting[name] = value
    report.loaded = len(fitting)
    report.missing = [name for name in own if name not in weights]
    _refuse_misfit(report, fitting, model, source, for_inference=for_inference)
    # The model may have made up for some itself.
    missing = set(model.load_state_dict(fitting, strict=False).missing_keys)
    report.missing = [name for name in report.missing if name in missing]
    return report


def _without(prefixes: tuple[str, ...], weights: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in weights.items() if not name.startswith(prefixes)}


def _refuse_misfit(
    report: KeyReport, fitting: Mapping[str, Tensor], model: nn.Module, source: str, *, for_inference: bool
) -> None:
    fits, has = (any(name.startswith("backbone.") for name in names) for names in (fitting, model.state_dict()))
    if has and not fits:
        raise CheckpointError(f"{source} is of another model: no weight of the backbone fits. {report}")
    training_only = model.training_only if isinstance(model, ReIDModel) else ReIDModel.training_only
    dropped = tuple(f"{part}." for part in training_only)
    unfit = (*report.missing, *report.other_shape)
    needed = [name for name in unfit if not (_CLASSIFIER.match(name) or name.startswith(dropped))]
    if for_inference and needed:
        raise CheckpointError(
            f"{source} does not fit this model, whose features would mean nothing: {report}. "
            f"Use the config that the checkpoint was trained with (config.yaml beside it)."
        )
