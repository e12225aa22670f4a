"""Gradient clipping."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from fastreid_ext.config import CfgNode

__all__ = ["build_gradient_clipper"]


def build_gradient_clipper(cfg: CfgNode) -> Callable[[Iterable[nn.Parameter]], Tensor | None] | None:
    """A function that clips the gradients of all parameters together, or `None` where the config has clipping off.

    It returns the norm before clipping without waiting for the GPU; clipping by value returns `None`.
    """
    options = cfg.SOLVER.CLIP_GRADIENTS
    if not options.ENABLED:
        return None
    limit, norm_type = options.CLIP_VALUE, options.NORM_TYPE
    if options.CLIP_TYPE == "norm":
        return lambda parameters: clip_grad_norm_(parameters, limit, norm_type)
    return lambda parameters: clip_grad_value_(parameters, limit)
