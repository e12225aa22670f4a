"""ImageNet weights for backbones: from a file, or through the library that publishes them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.modeling.backbones.base import Backbone, OfficialWeights
from fastreid_ext.utils.env import require
from fastreid_ext.utils.logger import get_logger

__all__ = ["PretrainedError", "load_pretrained", "read_weights"]

logger = get_logger(__name__)

CLASSIFIERS = ("fc.", "classifier.", "last_linear.", "linear.", "head.", "heads.")
NO_SOURCE = "nobody publishes ImageNet weights of this variant that we know of: set MODEL.BACKBONE.PRETRAIN False"


class PretrainedError(RuntimeError):
    """Weights that are not there or do not fit; the message says where to get the right ones."""


def load_pretrained(backbone: nn.Module, path: str | Path = "") -> None:
    """Loads ImageNet weights into a backbone: all of it, or an error.

    The file's classifier may be left over; layers that ImageNet weights do not have (`Backbone.new_layers`) may be
    missing. Both are logged. Everything else that does not match is an error.

    Args:
        backbone: any module; a `Backbone` knows where its weights are and how they are named.
        path: `.safetensors`, or what `torch.save` wrote; empty loads through torchvision or timm.

    Raises:
        PretrainedError: no such file, no library with these weights, a failed download, or weights that do not fit.
    """
    official = backbone.official_weights() if isinstance(backbone, Backbone) else None
    if path:
        source, state = str(path), _read_or_explain(Path(path).expanduser(), official)
    else:
        source, state = _fetch(official)
    if isinstance(backbone, Backbone):
        state = backbone.convert_weights(state)
    _fit(backbone, state, source)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file or of a checkpoint, named as in a bare backbone.

    `model` and `state_dict` are unwrapped, a common `module.` is dropped, and of a whole model the part `backbone.` is
    taken.

    Raises:
        PretrainedError: the file holds no tensors, or objects that are not safe to load.
    """
    content = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickled(path)
    for key in ("model", "state_dict", "model_state"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise PretrainedError(f"{path} holds no state dict: expected a dict of tensors by name")
    state = {key: value for key, value in content.items() if isinstance(value, Tensor)}
    if all(key.startswith("module.") for key in state):
        state = {key.removeprefix("module."): value for key, value in state.items()}
    inner = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    if inner and len(inner) < len(state):
        others = [key for key in state if not key.startswith("backbone.")]
        logger.info("%s: took backbone.*, left out %s", path, _listed(others))
    return inner or state


def _load_safetensors(path: Path) -> Any:
    library = require("safetensors", "zoo", f"reading {path}")
    try:
        return require("safetensors.torch", "zoo", f"reading {path}").load_file(path)
    except library.SafetensorError as error:
        raise PretrainedError(f"{path} cannot be read, it may be cut off: {error}") from error


def _load_pickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PretrainedError(
            f"{path} is not a file of plain tensors: {str(error).splitlines()[0]} "
            f"If you trust it, load it with torch.load(..., weights_only=False) and save its state dict again"
        ) from error
    except (RuntimeError, EOFError) as error:
        raise PretrainedError(f"{path} cannot be read, it may be cut off: {error}") from error


def _read_or_explain(path: Path, official: OfficialWeights | None) -> dict[str, Tensor]:
    if not path.is_file():
        where = f" Official weights: {official.where}" if official else ""
        if official and official.fetch:
            where += "; an empty PRETRAIN_PATH downloads them"
        raise PretrainedError(f"there is no file {path.absolute()} (MODEL.BACKBONE.PRETRAIN_PATH).{where}")
    return read_weights(path)


def _fetch(official: OfficialWeights | None) -> tuple[str, dict[str, Tensor]]:
    if official is None:
        raise PretrainedError(f"MODEL.BACKBONE.PRETRAIN is on without a PRETRAIN_PATH, but {NO_SOURCE}")
    if official.fetch is None:
        raise PretrainedError(
            "MODEL.BACKBONE.PRETRAIN is on, but no library loads these weights. "
            f"Download {official.where} and set MODEL.BACKBONE.PRETRAIN_PATH to the file"
        )
    try:
        return official.where, dict(official.fetch())
    except ImportError:
        raise
    except Exception as error:  # urllib, requests, httpx and huggingface_hub fail with classes of their own
        raise PretrainedError(
            f"could not load {official.where}: {type(error).__name__}: {str(error).rstrip('.')}. "
            "Without a network, download it elsewhere and set MODEL.BACKBONE.PRETRAIN_PATH to the file"
        ) from error


def _fit(backbone: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    own = backbone.state_dict()
    new_layers = backbone.new_layers if isinstance(backbone, Backbone) else ()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unexpected = [key for key in state if key not in own]
    new = [key for key in missing if key.startswith(new_layers)] if new_layers else []
    classifier = [key for key in unexpected if key.removeprefix("model.").startswith(CLASSIFIERS)]
    faults = {
        "missing in the file": [key for key in missing if key not in new],
        "unknown to the backbone": [key for key in unexpected if key not in classifier],
        "of another shape": [
            f"{key} {tuple(value.shape)} instead of {tuple(own[key].shape)}"
            for key, value in state.items()
            if key in own and value.shape != own[key].shape
        ],
    }
    if any(faults.values()):
        told = "; ".join(f"{what}: {_listed(keys)}" for what, keys in faults.items() if keys)
        raise PretrainedError(
            f"the weights {source} do not fit {type(backbone).__name__}: {told}. "
            "Check MODEL.BACKBONE.NAME, DEPTH and the WITH_* switches"
        )
    fitting = {key: value for key, value in state.items() if key in own}
    backbone.load_state_dict(fitting, strict=False)
    logger.info("loaded %d tensors of %s", len(fitting), source)
    if classifier:
        logger.info("left out the classifier: %s", ", ".join(classifier))
    if new:
        logger.info("not in the file, start as the identity: %s", ", ".join(new))


def _listed(keys: list[str], limit: int = 8) -> str:
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return ", ".join(keys[:limit]) + more
