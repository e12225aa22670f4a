"""Models as they are used once trained."""

from __future__ import annotations

from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import nn

from fastreid_ext.modeling.folding import fold_batch_norms
from fastreid_ext.modeling.meta_arch.base import ReIDModel

__all__ = ["ForInference", "prepare_for_inference"]

M = TypeVar("M", bound=nn.Module)


@runtime_checkable
class ForInference(Protocol):
    """A part of a model that has a quicker form for inference."""

    def for_inference(self) -> nn.Module:
        """That form, which may take over weights and layers; batch norms are folded, gradients are not wanted."""


@torch.no_grad()
def prepare_for_inference(model: M) -> M:
    """A copy that only embeds: quicker, and without what is needed in training only.

    The criterion and other parts that only training needs are left out, batch norms are folded into convolutions,
    parts with a form for inference (`ForInference`) take it, and on a CPU weights and images are laid out channels
    last. There, `keep_freed_memory` makes large batches quicker still. Outputs are the model's in evaluation but for
    rounding; the copy cannot be trained, and its state names are its own.

    Args:
        model: left as it is; a whole model or a part, such as a backbone.
    """
    prepared = fold_batch_norms(model).requires_grad_(False)
    for module in list(prepared.modules()):
        for part in module.training_only if isinstance(module, ReIDModel) else ReIDModel.training_only:
            if isinstance(getattr(module, part, None), nn.Module):
                module.register_module(part, None)
    _replace_children(prepared)
    if all(parameter.device.type == "cpu" for parameter in prepared.parameters()):
        prepared.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs know tensors only
        if isinstance(prepared, ReIDModel):
            prepared.memory_format = torch.channels_last
    return prepared


def _replace_children(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        _replace_children(child)
        if isinstance(child, ForInference):
            setattr(module, name, child.for_inference())
