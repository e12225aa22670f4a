"""A short name of what a model makes of images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from fastreid_ext.modeling.checkpoint import weights_of_training_only

__all__ = ["fingerprint"]

_DIGITS = 16


def fingerprint(model: nn.Module, options: Mapping[str, Any]) -> str:
    """16 hexadecimal digits of all weights that embeddings depend on, and of the options that change embeddings.

    Device, memory layout, the type in which floating-point weights are kept, and the name of a file change nothing.

    Args:
        model: as it was trained: batch norms not folded.
        options: see `embedding_options`.
    """
    state = model.state_dict()
    spare = set(weights_of_training_only(model, state))
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode())
    for name in sorted(state.keys() - spare):
        # How many batches there were changes nothing.
        if name.endswith("num_batches_tracked"):
            continue
        tensor = state[name].detach().cpu()
        values = tensor.to(torch.float32).contiguous() if tensor.is_floating_point() else tensor.contiguous()
        digest.update(f"\0{name} {tuple(values.shape)} {values.dtype}\0".encode())
        digest.update(values.numpy().data)
    return digest.hexdigest()[:_DIGITS]
