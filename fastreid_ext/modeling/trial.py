"""What a model does with an image, found out by giving it one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import ConfigError
from fastreid_ext.utils.modes import eval_mode

__all__ = ["names_of_last_relus"]

IMAGE_SIZE = (64, 64)
"""For backbones without an `image_size` of their own."""

_ADVICE = (
    "turn TEST.LEAKY_RELU.ENABLED off; a backbone of yours can make its last map with an nn.ReLU that it uses nowhere "
    "else, or name the modules that make it in a method last_activations()"
)


@dataclass(frozen=True, eq=False)
class _Output:
    """A tensor as it was when a module gave it: kept, so that no other takes its memory."""

    tensor: Tensor
    version: int

    @classmethod
    def of(cls, tensor: Tensor) -> _Output:
        return cls(tensor, tensor._version)

    def is_that_of(self, other: _Output) -> bool:
        """Whether nothing was written to it between the two, of which one may be a view of the other."""
        same = self.tensor.untyped_storage().data_ptr() == other.tensor.untyped_storage().data_ptr()
        return same and self.version == other.version


def names_of_last_relus(model: nn.Module, parts: Sequence[str]) -> dict[str, str]:
    """The name in the model of the ReLU whose output is the map that each part gives.

    Args:
        model: takes a batch dict; evaluated with one black image, and left as it is.
        parts: names of parts that give a map, or a dict of maps with a "last".

    Raises:
        ConfigError: a part's map is no output of an `nn.ReLU` that is called once, or the model cannot be run so.
    """
    relus = {name: module for name, module in model.named_modules() if isinstance(module, nn.ReLU)}
    outputs: dict[str, list[_Output]] = {name: [] for name in (*relus, *parts)}
    with ExitStack() as hooks:
        for name, kept in outputs.items():
            module = model.get_submodule(name)
            hooks.enter_context(_listening(module, kept))
        _run(model)
    found = {}
    for part in parts:
        makers = [
            name
            for name in relus
            if len(outputs[name]) == len(outputs[part]) == 1 and outputs[part][0].is_that_of(outputs[name][0])
        ]
        if len(makers) != 1:
            kind = type(model.get_submodule(part)).__name__
            raise ConfigError(
                f"TEST.LEAKY_RELU stands in for the last ReLU, but the last map of {kind} ({part} of "
                f"{type(model).__name__}) is not the output of one: {_ADVICE}"
            )
        found[part] = makers[0]
    return found


@contextmanager
def _listening(module: nn.Module, kept: list[_Output]) -> Iterator[None]:
    def keep(_module: nn.Module, _inputs: object, output: Any) -> None:
        last = output.get("last") if isinstance(output, Mapping) else output
        if isinstance(last, Tensor):
            kept.append(_Output.of(last))

    handle = module.register_forward_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def _run(model: nn.Module) -> None:
    parameter = next(model.parameters())
    sizes = (getattr(module, "image_size", None) for module in model.modules())
    height, width = next((size for size in sizes if isinstance(size, tuple)), IMAGE_SIZE)
    images = torch.zeros(1, 3, height, width, device=parameter.device)
    try:
        # Tensors of inference mode do not count what is written to them.
        with eval_mode(model), torch.inference_mode(False), torch.no_grad():
            model({"images": images})
    # A model can do anything with an image, and so fail in any way.
    except Exception as error:
        raise ConfigError(
            f"TEST.LEAKY_RELU: to find the last activation, {type(model).__name__} was given a black image of "
            f"{height}x{width} pixels, but failed: {type(error).__name__}: {error}. Mend that, or {_ADVICE}"
        ) from error
