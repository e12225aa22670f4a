"""Weights that others trained, under our state names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from fastreid_ext.registry import Registry

__all__ = ["CHECKPOINT_FILTERS", "filtered_weights"]

CHECKPOINT_FILTERS = Registry("checkpoint filter")
"""Functions called as `checkpoint_filter(weights, model)`: the same weights under the names that the model gives them,
or None where the names are not of the code base that the filter knows. FastReID's names are ours and need none."""


def filtered_weights(weights: Mapping[str, Tensor], model: nn.Module) -> tuple[Mapping[str, Tensor], str]:
    """The weights under the model's names, and the filter that knew theirs; "" where none did.

    Args:
        weights: by the names of the checkpoint.
        model: that they are for.
    """
    for entry in CHECKPOINT_FILTERS:
        renamed = entry.target(weights, model)
        if renamed is not None:
            return renamed, entry.name
    return weights, ""
