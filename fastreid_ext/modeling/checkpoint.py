"""Weights from checkpoints: read without running code from them, and copied by name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlparse

import numpy as np
import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode
from fastreid_ext.modeling.checkpoint_filters import filtered_weights
from fastreid_ext.modeling.meta_arch.base import ReIDModel
from fastreid_ext.utils.download import DownloadError, is_url, local_file

__all__ = ["CheckpointError", "KeyReport", "config_for", "load_weights", "read_checkpoint", "weights_of_training_only"]

# Classifiers: their shape follows the training data, and no feature depends on them.
_CLASSIFIER = re.compile(r"(heads|\w+_head)\.(\w+_branch\.)?(weight|cls_layer\..*)(\s|$)")
_CLASS_WEIGHT = re.compile(r"(module\.)?(heads|\w+_head)\.(\w+_branch\.)?weight")
_ONE_CHANNEL = re.compile(r"\bNL_\d\.\d+\.theta\.weight \(1, ")
# What torch says of a class or function that a file would have to call.
_CODE = re.compile(r"GLOBAL ([\w.]+)")


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
        kind = ": it is a folder, name a file in it" if file.is_dir() else ""
        raise CheckpointError(f"no checkpoint {file.absolute()}{kind}")
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises RuntimeError, UnpicklingError, EOFError, ... for what is not whole
        if code := _CODE.search(str(error)):
            raise CheckpointError(
                f"{path} holds more than data: {code[1]}. If you trust who made it, save it again as plain tensors:\n"
                f"  import torch; state = torch.load({str(file)!r}, map_location='cpu', weights_only=False)\n"
                f"  torch.save({{'model': state.get('model', state.get('state_dict', state))}}, 'plain.pth')"
            ) from error
        if is_url(path):
            _remove(file, path, error)
        raise CheckpointError(f"cannot read checkpoint {path}: {type(error).__name__}: {error}") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"checkpoint {path} holds a {type(state).__name__}, not a dict")
    return state


def _remove(file: Path, path: str | os.PathLike[str], error: Exception) -> NoReturn:
    """What an address gave in place of a checkpoint, often a page that asks to log in, must not be kept."""
    begin = file.read_bytes()[:20]
    if urlparse(os.fspath(path)).scheme != "file":
        file.unlink()
    raise CheckpointError(f"what came from {path} is no checkpoint, it begins with {begin!r}") from error


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
        for_inference: everything must fit, since figures of half a model mean nothing; classifiers, too, of models that
            classify.
        memories: also what a model remembers of images; not for another training than the one that was saved.

    Raises:
        CheckpointError: no weight of the backbone fits, or for inference some weight does not.
    """
    named = {name.removeprefix("module."): value for name, value in _weights_of(state).items()}
    if not named:
        raise CheckpointError(
            f"{source} holds no weights: expected tensors by name, alone or as 'model' or 'state_dict'"
        )
    weights, known_by = filtered_weights(named, model)
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


def config_for(cfg: CfgNode, state: Mapping[str, Any]) -> CfgNode:
    """The config of a model that the weights of a checkpoint go into, and only evaluates.

    Classifiers are as wide as those of the checkpoint, or of one class where it has none. Nothing is read that the
    checkpoint's weights replace, or that only training needs: pretrained weights, teachers.
    """
    cfg = cfg.clone()
    cfg.defrost()
    classifiers = (value for name, value in _weights_of(state).items() if _CLASS_WEIGHT.fullmatch(name))
    cfg.MODEL.HEADS.NUM_CLASSES = next(map(len, classifiers), 1)
    cfg.MODEL.BACKBONE.PRETRAIN = False
    cfg.KD.MODEL_CONFIG, cfg.KD.MODEL_WEIGHTS = [], []
    cfg.freeze()
    return cfg


def weights_of_training_only(model: nn.Module, names: Iterable[str]) -> list[str]:
    """Those of the names, each of which may have more words behind it, of weights that no embedding depends on."""
    training_only = model.training_only if isinstance(model, ReIDModel) else ReIDModel.training_only
    dropped = tuple(f"{part}." for part in training_only)
    # A classifier of no use to features is all there is to one that classifies.
    parts = [model, *(part for name, part in model.named_children() if name not in training_only)]
    classifies = any(getattr(part, "gives_logits", False) for part in parts)
    return [name for name in names if name.startswith(dropped) or (_CLASSIFIER.match(name) and not classifies)]


def _weights_of(state: Mapping[Any, Any]) -> dict[str, Tensor]:
    """What is a tensor or a number and has a name, of the weights in a checkpoint or of those that it is."""
    inner = next((part for key in ("model", "state_dict") if isinstance(part := state.get(key), Mapping)), state)
    arrays = (Tensor, np.ndarray, float, int)
    return {
        name: torch.as_tensor(value)
        for name, value in inner.items()
        if isinstance(name, str) and isinstance(value, arrays)
    }


def _without(prefixes: tuple[str, ...], weights: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in weights.items() if not name.startswith(prefixes)}


def _refuse_misfit(
    report: KeyReport, fitting: Mapping[str, Tensor], model: nn.Module, source: str, *, for_inference: bool
) -> None:
    fits, has = (any(name.startswith("backbone.") for name in names) for names in (fitting, model.state_dict()))
    if has and not fits:
        raise CheckpointError(f"{source} is of another model: no weight of the backbone fits. {report}")
    unfit = (*report.missing, *report.other_shape)
    spare = weights_of_training_only(model, unfit)
    # Files of old PyTorch do not count batches, nor does an evaluation.
    needed = {name for name in unfit if not name.endswith("num_batches_tracked")} - set(spare)
    # What a filter of other code leaves, its network has and this one does not.
    left = report.unexpected if report.filter else []
    if for_inference and (needed or left):
        where = "that describes the authors' network" if report.filter else "of its training (config.yaml beside it)"
        raise CheckpointError(
            f"{source} does not fit this model, whose features would mean nothing: {report}. Use the config {where}."
        )
