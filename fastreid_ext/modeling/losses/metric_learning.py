"""The losses of pytorch-metric-learning by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.config.spec import parse_spec
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses.base import PairwiseLoss, check_inputs
from fastreid_ext.modeling.losses.registry import LOSSES
from fastreid_ext.registry import RegistryError, close_matches
from fastreid_ext.utils.env import require

__all__ = ["MetricLearningLoss"]


class MetricLearningLoss(PairwiseLoss):
    """A loss of pytorch-metric-learning, such as `MetricLearningLoss("MultiSimilarityLoss", alpha=2)`.

    A loss with weights of its own needs `num_classes` and `embedding_size`; its weights are parameters of this module.

    Raises:
        ImportError: pytorch-metric-learning is not installed.
        RegistryError: the library has no such loss.
        ConfigError: the loss does not take these options.
    """

    def __init__(self, name: str, *, scale: float = 1.0, **options: Any) -> None:
        super().__init__()
        self.key = "pml_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("Loss")).lower()
        self._scale = scale
        loss_class = _find(name)
        try:
            self.loss = loss_class(**options)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"pml:{name} cannot be made from the options {options or 'none'}: {error}. "
                f"It takes {name}{inspect.signature(loss_class)}"
            ) from error

    def scale(self, cfg: CfgNode) -> float:
        """The option `scale`: these losses have no node."""
        return self._scale

    def forward(self, embeddings: Tensor, pids: Tensor) -> Tensor:
        """What the library's loss gives, in float32 or wider.

        Shape:
            embeddings: (B, D). pids: (B,).
            Result: scalar.
        """
        check_inputs(embeddings, pids)
        embeddings = widen(embeddings)
        if not len(embeddings):
            return embeddings.sum()
        with torch.autocast(embeddings.device.type, enabled=False):
            loss: Tensor = self.loss(embeddings, pids)
        return loss


def _find(name: str) -> Any:
    losses = require("pytorch_metric_learning.losses", "zoo", f"the loss pml:{name}")
    base = losses.BaseMetricLossFunction
    known = {
        key: value
        for key, value in vars(losses).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    }
    if name not in known:
        matches = close_matches(name, known)
        hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
        raise RegistryError(f"pytorch-metric-learning has no loss '{name}'.{hint} It has: {', '.join(sorted(known))}.")
    return known[name]


def _resolve(spec: str) -> Callable[..., MetricLearningLoss]:
    """A loss of pytorch-metric-learning with its options: pml:MultiSimilarityLoss:alpha=2,scale=0.5"""
    name, positional, options = parse_spec(spec)
    if positional:
        raise ConfigError(f"options of the loss pml:{spec} are of the form key=value, not {positional[0]!r}")

    def build(cfg: CfgNode | None = None) -> MetricLearningLoss:
        return MetricLearningLoss(name, **options)

    return build


LOSSES.register_prefix("pml", _resolve)
