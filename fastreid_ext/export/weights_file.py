"""Weights in safetensors files."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from fastreid_ext.inference.card import ModelCard
from fastreid_ext.inference.exported import CARD_KEY
from fastreid_ext.utils.env import require

__all__ = ["write_weights"]


def write_weights(path: Path, model: nn.Module, card: ModelCard) -> None:
    """Writes the weights of a prepared model, its card in the metadata.

    Raises:
        ImportError: safetensors is not installed.
    """
    safetensors = require("safetensors.torch", "export", "export to safetensors")
    # The format knows neither shared memory nor layouts.
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    safetensors.save_file(weights, path, metadata={CARD_KEY: card.to_json()})
