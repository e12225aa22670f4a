"""Which module a trace ends in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import nn
from torch.fx.experimental.symbolic_shapes import is_concrete_int

__all__ = ["Calls"]


class Calls:
    """Inside the block follows the calls of a model's modules while it is traced, to tell where an error comes from.

    Args:
        model: takes images alone.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model, self._hooks = model, ExitStack()
        self._called: list[str] = []
        self._fixing = ""

    def __enter__(self) -> Calls:
        for name, module in self._model.named_modules():
            self._hooks.enter_context(module.register_forward_pre_hook(self._enter(name)))
            self._hooks.enter_context(module.register_forward_hook(self._leave))
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.close()

    def tell(self, error: Exception) -> str:
        """What went wrong, and where."""
        if self._called:
            return (
                f"{self._called[-1]} raised {type(error).__name__}: {_first_line(error)}. A forward that is to be "
                "exported consists of tensor operations: no branches on values, no NumPy"
            )
        if self._fixing:
            return f"{self._fixing} fixes the number of images: take x.shape[0] in place of len(x), and no int() of it"
        return _first_line(error)

    def _enter(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], None]:
        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if not self._called:
                self._images = inputs[0]
            self._called.append(f"{name} ({type(module).__name__})" if name else type(module).__name__)

        return enter

    def _leave(self, *_: object) -> None:
        called = self._called.pop()
        if not self._fixing and is_concrete_int(self._images.shape[0]):
            self._fixing = called


def _first_line(error: Exception) -> str:
    """What is of use of the pages that the tracer writes."""
    lines = [line.strip(" -.") for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    # The first line of this one says that it has more lines.
    return lines[1] if lines[0].startswith("Constraints violated") and len(lines) > 1 else lines[0]
