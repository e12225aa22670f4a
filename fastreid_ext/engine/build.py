"""From a config to the training loop."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fastreid_ext import projects
from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.engine.hooks.model_step import ModelStep
from fastreid_ext.engine.train_loop import AMPTrainer, SimpleTrainer
from fastreid_ext.modeling import META_ARCHS
from fastreid_ext.modeling.meta_arch import ReIDModel
from fastreid_ext.solver import build_gradient_clipper
from fastreid_ext.utils.dist import get_world_size
from fastreid_ext.utils.logger import get_logger

__all__ = ["build_loop", "refuse_other_programs", "wrap_model"]


def refuse_other_programs(cfg: CfgNode) -> None:
    """Refuses a model that is not trained as others are.

    Raises:
        ConfigError: names the program that trains it.
    """
    for name in cfg.PROJECTS:
        projects.load(name)
    program = getattr(META_ARCHS.get(cfg.MODEL.META_ARCHITECTURE), "program", "")
    if program:
        raise ConfigError(f"MODEL.META_ARCHITECTURE {cfg.MODEL.META_ARCHITECTURE} is trained by {program}, not by this")


def wrap_model(cfg: CfgNode, model: nn.Module) -> nn.Module:
    """The model as the loop calls it: compiled and distributed where asked for.

    Raises:
        ConfigError: several processes on one named GPU.
    """
    wrapped: nn.Module = torch.compile(model) if cfg.MODEL.COMPILE else model  # type: ignore[assignment]
    if get_world_size() > 1:
        device = next(model.parameters()).device
        if cfg.MODEL.DEVICE.startswith("cuda:"):
            raise ConfigError(f"MODEL.DEVICE {cfg.MODEL.DEVICE} is one GPU; with several processes set cuda or auto")
        device_ids = [device.index] if device.type == "cuda" else None
        leave_out: Any = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
        leave_out(wrapped, _not_to_send(model, wrapped))
        wrapped = DistributedDataParallel(
            wrapped, device_ids=device_ids, find_unused_parameters=cfg.SOLVER.FIND_UNUSED_PARAMETERS
        )
    return wrapped


def _not_to_send(model: nn.Module, wrapped: nn.Module) -> list[str]:
    """Names in `wrapped` of the buffers that are equal on all ranks, and some large."""
    parts = model.memories if isinstance(model, ReIDModel) else ()
    equal = {id(buffer) for part in parts for buffer in model.get_submodule(part).buffers()}
    return [name for name, buffer in wrapped.named_buffers() if id(buffer) in equal]


def build_loop(
    cfg: CfgNode,
    model: nn.Module,
    loader: Any,
    optimizer: torch.optim.Optimizer,
    iters_per_epoch: int,
    *,
    plain: type[SimpleTrainer] = SimpleTrainer,
    mixed: type[AMPTrainer] = AMPTrainer,
) -> SimpleTrainer:
    """The loop in the precision that `SOLVER.AMP` and the device ask for; the model's `after_step` is called in it.

    Args:
        cfg: the config.
        model: as the loop calls it.
        loader: of batches.
        optimizer: of the weights.
        iters_per_epoch: iterations an epoch.
        plain: class of a loop in the model's own precision.
        mixed: class of a loop in mixed precision.

    Raises:
        ConfigError: float16 on a CPU.
    """
    options = {
        "iters_per_epoch": iters_per_epoch,
        "max_epochs": cfg.SOLVER.MAX_EPOCH,
        "accumulation_steps": cfg.SOLVER.ACCUMULATION_STEPS,
        "clip_gradients": build_gradient_clipper(cfg),
    }
    device_type = next(model.parameters()).device.type
    dtype = _amp_dtype(cfg, device_type)
    if dtype is None:
        loop = plain(model, loader, optimizer, **options)
    else:
        loop = mixed(model, loader, optimizer, **options, dtype=dtype, device_type=device_type)
    bare = _unwrapped(model)
    if isinstance(bare, ReIDModel):
        loop.register_hooks([ModelStep(bare)])
    return loop


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, without what `wrap_model` may have put around it."""
    if isinstance(model, DistributedDataParallel):
        model = model.module
    bare: nn.Module = getattr(model, "_orig_mod", model)
    return bare


def _amp_dtype(cfg: CfgNode, device_type: str) -> torch.dtype | None:
    amp = cfg.SOLVER.AMP
    if not amp.ENABLED:
        return None
    if amp.DTYPE != "auto":
        if amp.DTYPE == "fp16" and device_type == "cpu":
            raise ConfigError("SOLVER.AMP.DTYPE fp16 needs a GPU; take bf16 on a CPU, or turn SOLVER.AMP.ENABLED off")
        return {"bf16": torch.bfloat16, "fp16": torch.float16}[amp.DTYPE]
    if device_type == "cpu":
        get_logger(__name__).info("SOLVER.AMP.DTYPE auto is float32 on a CPU, which has no fast half precision")
        return None
    return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
