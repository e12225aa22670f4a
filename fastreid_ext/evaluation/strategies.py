"""Options of the evaluation that change how a trained model makes features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.modeling.last_layers import dropping_poolings, last_activations, pooling_layers, swapped
from fastreid_ext.modeling.layers.pooling import MixedPool

__all__ = ["InferenceStrategies", "check_strategies"]


@dataclass(frozen=True)
class InferenceStrategies:
    """Other poolings and last activations for models that were trained without (Elezi et al. 2022, section 4).

    Attributes:
        mixed_pool: share of the maximum in what stands in for the poolings of heads; None leaves them.
        leaky_relu: negative slope of what stands in for the last ReLUs; None leaves them.
    """

    mixed_pool: float | None = None
    leaky_relu: float | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode) -> InferenceStrategies:
        """As `TEST.MIXED_POOL` and `TEST.LEAKY_RELU` say."""
        pool, relu = cfg.TEST.MIXED_POOL, cfg.TEST.LEAKY_RELU
        return cls(pool.ALPHA if pool.ENABLED else None, relu.SLOPE if relu.ENABLED else None)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model has them inside the block; afterwards its own layers are in their places again.

        Args:
            model: neither compiled nor wrapped.

        Raises:
            ConfigError: the model has no pooling that could be another, or its last activation is no ReLU or cannot be
                known, or its pooling drops what a leaky ReLU lets pass.
        """
        alpha, slope = self.mixed_pool, self.leaky_relu
        if slope is not None and alpha is None and (dropping := dropping_poolings(model)):
            raise ConfigError(
                f"TEST.LEAKY_RELU lets negative values pass, which {' and '.join(dropping)} drops: turn "
                f"TEST.MIXED_POOL.ENABLED on, too, or TEST.LEAKY_RELU.ENABLED off"
            )
        with ExitStack() as stack:
            # The trial that finds the last activations is of the model as it is.
            activations = [] if slope is None else last_activations(model)
            poolings = [] if alpha is None else pooling_layers(model)
            stack.enter_context(swapped(activations, lambda _: nn.LeakyReLU(slope or 0.0)))
            stack.enter_context(swapped(poolings, lambda _: MixedPool(alpha or 0.0)))
            yield

    def describe(self) -> dict[str, float]:
        """Those that are on, for results.json."""
        values = {"mixed_pool": self.mixed_pool, "leaky_relu": self.leaky_relu}
        return {name: value for name, value in values.items() if value is not None}


def check_strategies(cfg: CfgNode, model: nn.Module) -> None:
    """Whether the model can be evaluated with what `TEST` asks for; to be asked before a long training.

    Raises:
        ConfigError: it cannot; see `InferenceStrategies.applied`.
    """
    with InferenceStrategies.from_config(cfg).applied(model):
        pass
