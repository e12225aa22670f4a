"""Replicator dynamics: what images believe about each other."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["refine"]


def refine(log_probabilities: Tensor, similarities: Tensor, steps: int, fixed: Tensor | None = None) -> Tensor:
    """Assignments of images to classes after some steps of label propagation, in logarithms.

    A step multiplies each assignment by its support, the assignments of all images weighted by their similarity, and
    normalises rows: X <- Q^-1 [X * (W X)] with Q = diag([X * (W X)] 1) (eqs. 4 and 7, Algorithm 1). A row whose
    support is 0 wherever it has mass keeps its value, for which the formula has 0 / 0. For symmetric, non-negative W,
    sum_ij w_ij x_i . x_j never decreases (Baum and Eagon; eqs. 9 and 10).

    Support is summed in units of each class's largest assignment, so that unlikely classes do not underflow. Where it
    is 0 for a class that the image has mass in, beside others that are supported, it counts as the smallest normal
    number: the loss of such an image is large, but finite, and has a gradient.

    Args:
        log_probabilities: X, in logarithms; minus infinity is no mass.
        similarities: W.
        steps: number of steps, T.
        fixed: rows that keep their values: anchors.

    Shape:
        log_probabilities: (B, C), rows of probabilities that sum to 1. similarities: (B, B), not negative.
        fixed: (B,), boolean.
        Result: (B, C).
    """
    for _ in range(steps):
        refined = _step(log_probabilities, similarities)
        log_probabilities = refined if fixed is None else torch.where(fixed[:, None], log_probabilities, refined)
    return log_probabilities


def _step(log_x: Tensor, similarities: Tensor) -> Tensor:
    limits = torch.finfo(log_x.dtype)
    largest = log_x.detach().amax(0, keepdim=True).clamp_min(limits.min)
    with torch.autocast(log_x.device.type, enabled=False):
        support = similarities @ (log_x - largest).exp()
    products = log_x + (support.clamp_min(limits.tiny).log() + largest)
    refined = products - products.logsumexp(1, keepdim=True)
    supported = ((support > 0) & log_x.isfinite()).any(1, keepdim=True)
    return torch.where(supported, refined, log_x)
