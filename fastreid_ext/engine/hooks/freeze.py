"""Layers that stay as they are at the beginning."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.registry import close_matches

__all__ = ["LayerFreeze"]


class LayerFreeze(Hook):
    """Keeps modules fixed, batch-norm statistics included, for the first iterations.

    Which iterations are frozen follows from the iteration alone, so that a resumed run does not freeze again. The
    gradients are computed, as distributed training expects, and dropped before the optimizer sees them: neither weight
    decay nor momentum moves a frozen weight.

    Args:
        model: the model.
        layers: names of modules, such as `"backbone"`.
        iterations: how long.

    Raises:
        ConfigError: no module has such a name.
    """

    def __init__(self, model: nn.Module, layers: Sequence[str], iterations: int) -> None:
        self.iterations = iterations
        modules = dict(model.named_modules())
        for layer in layers:
            if layer not in modules:
                matches = close_matches(layer, [name for name in modules if name])
                hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
                raise ConfigError(f"MODEL.FREEZE_LAYERS names '{layer}', but the model has no such part.{hint}")
        self.modules = [modules[layer] for layer in layers]
        self._frozen = False

    def before_step(self) -> None:
        frozen = self.trainer.iteration < self.iterations
        if frozen != self._frozen:
            for module in self.modules:
                module.train(not frozen)
            self._frozen = frozen

    def after_backward(self) -> None:
        if self._frozen:
            for module in self.modules:
                for parameter in module.parameters():
                    parameter.grad = None
