"""Models of weights in safetensors files."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.inference.card import ModelCard
from fastreid_ext.inference.checkpoint_embedder import CheckpointEmbedder
from fastreid_ext.inference.exported import CARD_KEY, exported_card
from fastreid_ext.inference.saved_config import saved_config
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.checkpoint import CheckpointError, config_for, weights_of_training_only
from fastreid_ext.utils.env import require

__all__ = ["WeightsEmbedder"]

_LISTED = 8


class WeightsEmbedder(CheckpointEmbedder):
    """A PyTorch model, built as the config in the file says, with the weights in it: batch norms are folded already.

    Args:
        path: of a file that `export_model` wrote.
        device: where it computes.

    Raises:
        CheckpointError: the file cannot be read, or its weights do not fit its config.
        CardError: it does not say how its model embeds images.
        ConfigError, RegistryError: its config has what is not known here.
        ImportError: safetensors is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], *, device: torch.device | None = None) -> None:
        source = os.fspath(path)
        weights, card = _read(source)
        cfg = config_for(saved_config(card.config, source=source), {"model": weights})
        cfg.defrost()
        cfg.MODEL.DEVICE = str(device or torch.device("cpu"))
        cfg.freeze()
        super().__init__(cfg, build_model(cfg), source=source)
        self._load(weights)
        self.card = card

    def _load(self, weights: dict[str, Tensor]) -> None:
        try:
            fit = self.model.load_state_dict(weights, strict=False)
        except RuntimeError as error:
            # The first of its lines says nothing.
            reason = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"the weights in {self.source} do not fit its config: {reason}") from error
        missing = set(fit.missing_keys) - set(weights_of_training_only(self.model, fit.missing_keys))
        if misfit := sorted({*missing, *fit.unexpected_keys}):
            listed = ", ".join(misfit[:_LISTED]) + f" and {len(misfit) - _LISTED} more" * (len(misfit) > _LISTED)
            raise CheckpointError(f"the weights in {self.source} do not fit its config: {listed}")


def _read(source: str) -> tuple[dict[str, Tensor], ModelCard]:
    safetensors = require("safetensors", "export", "a model in a safetensors file")
    try:
        with safetensors.safe_open(source, framework="pt") as file:
            metadata: dict[str, Any] = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no dict
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"cannot read {source}: {error}") from error
    return weights, exported_card(metadata.get(CARD_KEY), source)
