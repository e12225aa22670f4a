"""Optimizers and the groups of parameters that they treat alike."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.optim import Optimizer

from fastreid_ext.config import AUTO, CfgNode, ConfigError
from fastreid_ext.config.spec import parse_options
from fastreid_ext.registry import Registry, RegistryError, close_matches

__all__ = ["OPTIMIZERS", "build_optimizer", "parameter_groups"]

OPTIMIZERS = Registry("optimizer")
"""Classes called as `Optimizer(parameter groups, lr=..., **SOLVER.OPT_ARGS)`; those of `torch.optim` need no entry."""

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)

# "heads" of most models, "b1_head" and its like of those with several.
_OF_HEADS = re.compile(r"(heads|\w+_head)\.")

_SET_BY_GROUP = ("params", "lr", "weight_decay")


def build_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """The optimizer `SOLVER.OPT` on the trainable parameters of a model.

    Raises:
        RegistryError: neither registered nor in `torch.optim`.
        ConfigError: `SOLVER.OPT_ARGS` holds what the optimizer does not take, or there is nothing to train.
    """
    if cfg.SOLVER.BASE_LR == AUTO:
        raise ConfigError(
            "SOLVER.BASE_LR is auto, which only a training knows to read: set automatic_rate(cfg, number of images)"
        )
    target = _find(cfg.SOLVER.OPT)
    options = parse_options(cfg.SOLVER.OPT_ARGS)
    known = [name for name in inspect.signature(target).parameters if name not in _SET_BY_GROUP]
    for name in options:
        if name not in known:
            raise ConfigError(
                f"SOLVER.OPT_ARGS cannot hold '{name}': {cfg.SOLVER.OPT} takes {', '.join(known)}; "
                f"learning rates and weight decays have keys of their own"
            )
    if cfg.SOLVER.OPT == "SGD":
        options = {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV} | options
    groups = parameter_groups(cfg, model)
    if not groups:
        raise ConfigError("no parameter of the model is trainable")
    optimizer: Optimizer = target(groups, lr=cfg.SOLVER.BASE_LR, **options)
    return optimizer


def parameter_groups(cfg: CfgNode, model: nn.Module) -> list[dict[str, Any]]:
    """Groups of equal learning rate and weight decay, as FastReID's factors for biases, norms and heads say.

    A norm's bias is a bias first.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, module, parameter in _trainable(model):
        rate, decay = cfg.SOLVER.BASE_LR, cfg.SOLVER.WEIGHT_DECAY
        if isinstance(module, _NORMS):
            decay = cfg.SOLVER.WEIGHT_DECAY_NORM
        if name.rpartition(".")[2] == "bias":
            rate, decay = rate * cfg.SOLVER.BIAS_LR_FACTOR, cfg.SOLVER.WEIGHT_DECAY_BIAS
        if _OF_HEADS.match(name):
            rate *= cfg.SOLVER.HEADS_LR_FACTOR
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "initial_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Parameter]]:
    """Each trainable parameter once, with its full name and the module that owns it."""
    seen: set[nn.Parameter] = set()
    for prefix, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                yield f"{prefix}.{name}" if prefix else name, module, parameter


def _find(name: str) -> Any:
    if name in OPTIMIZERS:
        return OPTIMIZERS.get(name)
    known = {
        key: value
        for key, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, Optimizer) and value is not Optimizer
    }
    if name not in known:
        matches = close_matches(name, [*known, *OPTIMIZERS.names()])
        hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
        raise RegistryError(f"unknown optimizer '{name}' in SOLVER.OPT.{hint} Known: {', '.join(sorted(known))}")
    return known[name]
