"""The losses of pytorch-metric-learning by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.config.spec import parse_spec
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses.base import PairwiseLoss, check_inputs
from fastreid_ext.modeling.losses.registry import LOSSES
from fastreid_ext.registry import RegistryError, close_matches
from fastreid_ext.utils.env import require

__all__ = ["MetricLearningLoss"]

# Parts of a loss that options name by their class, with the module of the library and the base class of each.
_PARTS = {
    "miner": ("miners", "BaseMiner"),
    "distance": ("distances", "BaseDistance"),
    "reducer": ("reducers", "BaseReducer"),
    "embedding_regularizer": ("regularizers", "BaseRegularizer"),
    "weight_regularizer": ("regularizers", "BaseRegularizer"),
}


class MetricLearningLoss(PairwiseLoss):
    """A loss of pytorch-metric-learning, such as `MetricLearningLoss("MultiSimilarityLoss", alpha=2)`.

    A loss with weights of its own needs `num_classes` and `embedding_size`; its weights are parameters of this module.
    The parts of a loss are options too: `miner`, `distance`, `reducer`, `embedding_regularizer`, `weight_regularizer`
    name the library's classes, and `miner_<key>` and so on are their options, such as
    `MetricLearningLoss("MultiSimilarityLoss", miner="MultiSimilarityMiner", miner_epsilon=0.1)`. A miner keeps its own
    distance. `scale` is the weight of the loss; the library's own option of that name is `own_scale`.

    Raises:
        ImportError: pytorch-metric-learning is not installed.
        RegistryError: the library has no such loss, or no such part.
        ConfigError: the loss or a part does not take these options; options of a part that is not named.
    """

    def __init__(self, name: str, *, scale: float = 1.0, **options: Any) -> None:
        super().__init__()
        self.key = "pml_" + re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.removesuffix("Loss")).lower()
        self._scale = scale
        of_loss, made = _split(name, options)
        self.miner = made.pop("miner", None)
        self.loss = _make(f"pml:{name}", _find("loss", name, "losses", "BaseMetricLossFunction"), of_loss, made)

    def scale(self, cfg: CfgNode) -> float:
        """The option `scale`: these losses have no node."""
        return self._scale

    def forward(self, embeddings: Tensor, pids: Tensor) -> Tensor:
        """What the library's loss gives of the pairs that the miner chooses, in float32 or wider.

        Shape:
            embeddings: (B, D). pids: (B,).
            Result: scalar.
        """
        check_inputs(embeddings, pids)
        embeddings = widen(embeddings)
        if not len(embeddings):
            return embeddings.sum()
        with torch.autocast(embeddings.device.type, enabled=False):
            pairs = None if self.miner is None else self.miner(embeddings, pids)
            loss: Tensor = self.loss(embeddings, pids, pairs)
        return loss


def _split(name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, nn.Module]]:
    """The options of the loss itself, and the parts made from the others."""
    of_loss = {"scale" if key == "own_scale" else key: value for key, value in options.items()}
    made = {}
    for part, (module, base) in _PARTS.items():
        chosen = of_loss.pop(part, None)
        prefix = f"{part}_"
        of_part = {key.removeprefix(prefix): of_loss.pop(key) for key in options if key.startswith(prefix)}
        if chosen is not None:
            made[part] = _make(f"{part}={chosen} of pml:{name}", _find(part, chosen, module, base), of_part, {})
        elif of_part:
            raise ConfigError(
                f"pml:{name} has the option {prefix}{next(iter(of_part))} of a {part}, but none is named: "
                f"add {part}=<class of pytorch_metric_learning.{module}>"
            )
    return of_loss, made


def _make(what: str, made_class: Any, options: Mapping[str, Any], parts: Mapping[str, nn.Module]) -> nn.Module:
    try:
        made: nn.Module = made_class(**options, **parts)
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"{what} cannot be made from the options {dict(options) or 'none'}: {error}. "
            f"It takes {made_class.__name__}{inspect.signature(made_class)}"
        ) from error
    return made


def _find(kind: str, name: str, module: str, base_name: str) -> Any:
    """The class of that name in a module of the library."""
    classes = require(f"pytorch_metric_learning.{module}", "zoo", f"the {kind} {name} of a pml: loss")
    base = getattr(classes, base_name)
    known = {
        key: value
        for key, value in vars(classes).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    }
    if name not in known:
        matches = close_matches(str(name), known)
        hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
        kind = kind.replace("_", " ")
        raise RegistryError(
            f"pytorch-metric-learning has no {kind} '{name}'.{hint} It has: {', '.join(sorted(known))}."
        )
    return known[name]


def _resolve(spec: str) -> Callable[..., MetricLearningLoss]:
    """A loss of pytorch-metric-learning with its options: pml:MultiSimilarityLoss:alpha=2,miner=MultiSimilarityMiner"""
    name, positional, options = parse_spec(spec)
    if positional:
        raise ConfigError(f"options of the loss pml:{spec} are of the form key=value, not {positional[0]!r}")

    def build(cfg: CfgNode | None = None) -> MetricLearningLoss:
        return MetricLearningLoss(name, **options)

    return build


LOSSES.register_prefix("pml", _resolve)
