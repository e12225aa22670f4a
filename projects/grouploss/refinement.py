"""Replicator dynamics: what images believe about each other."""

from __future__ import annotations

from math import inf, pow
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["refine"]


def refine(log_probabilities: Tensor, similarities: Tensor, steps: int, fixed: Tensor | None = None) -> Tensor:
    """Assignments of images to classes after some steps of label propagation, in logarithms.

    A step multiplies each assignment by its support, the assignments of all images weighted by their similarity, and
    normalises rows: X <- Q^-1 [X * (W X)] with Q = diag([X * (W X)] 1) (eqs. 4 and 7, Algorithm 1). A row whose
    support is 0 wherever it has mass keeps its value, for which the formula has 0 / 0. For symmetric, non-negative W,
    sum_ij w_ij x_i . x_j never decreases (Baum and Eagon; eqs. 9 and 10).

    Support is summed in units of the image's largest similarity and of each class's largest assignment, so that weak
    similarities and unlikely classes count. Where it is below a very small number (in float32 1e-28) in these units, or
    0, for a class that the image has mass in, beside others that are supported, it counts as that number: the loss of
    such an image is large, but finite, and has a gradient. There is no second derivative.

    Args:
        log_probabilities: X, in logarithms; minus infinity is no mass.
        similarities: W.
        steps: number of steps, T.
        fixed: rows that keep their values: anchors.

    Shape:
        log_probabilities: (B, C), rows of probabilities that sum to 1. similarities: (B, B), not negative.
        fixed: (B,), boolean.
        Result: (B, C).

    Raises:
        ValueError: a negative number of steps.
    """
    if steps < 0:
        raise ValueError(f"refinement takes a number of steps from 0 on, not {steps}")
    if not steps:
        return log_probabilities
    free = None if fixed is None else ~fixed
    refined: Tensor = _Refinement.apply(log_probabilities, similarities, free, steps)  # type: ignore[no-untyped-call]
    return refined


class _Refinement(torch.autograd.Function):
    """All steps at once: autograd would keep some ten matrices of all classes a step, where two will do."""

    @staticmethod
    def forward(ctx: Any, log_x: Tensor, similarities: Tensor, free: Tensor | None, steps: int) -> Tensor:
        # Each row's factor cancels out when rows are normalised.
        units = similarities.amax(1, keepdim=True).clamp_min(torch.finfo(similarities.dtype).tiny)
        similarities = similarities / units
        saved = [similarities, units]
        with torch.autocast(log_x.device.type, enabled=False):
            for _ in range(steps):
                log_x, *kept = _step(log_x, similarities, free)
                saved += kept
        ctx.save_for_backward(log_x, *saved)
        return log_x

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        log_x, similarities, units, *kept = ctx.saved_tensors
        gradient, of_similarities = gradients[0], None
        refined = log_x.exp()
        # backward() may be called inside of autocast.
        with torch.autocast(log_x.device.type, enabled=False):
            for start in range(len(kept) - 4, -1, -4):
                scaled, support, largest, moves = kept[start : start + 4]
                gradient, of_support = _step_backward(gradient, refined, similarities, scaled, support, moves)
                if ctx.needs_input_grad[1]:
                    of_step = of_support @ scaled.T
                    of_similarities = of_step if of_similarities is None else of_similarities + of_step
                refined = scaled * largest.exp()
        return gradient, None if of_similarities is None else of_similarities / units, None, None


def _step(log_x: Tensor, similarities: Tensor, free: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The refined logarithms; assignments in units of the largest of each class, support in the same, those largest in
    logarithms, and which rows move.

    Shape:
        log_x: (B, C). similarities: (B, B). free: (B,).
        Results: (B, C), (B, C), (B, C), (1, C), (B, 1).
    """
    largest = log_x.amax(0, keepdim=True).clamp_min(torch.finfo(log_x.dtype).min)
    scaled = (log_x - largest).exp_()
    support = similarities @ scaled
    refined = support.clamp_min(_least(support)).log_().add_(largest).add_(log_x).log_softmax(1)
    # So that what is no number moves, and is seen.
    moves = ((support != 0) & (log_x != -inf)).any(1)
    moves = (moves if free is None else moves & free)[:, None]
    return torch.where(moves, refined, log_x), scaled, support, largest, moves


def _step_backward(
    gradient: Tensor, refined: Tensor, similarities: Tensor, scaled: Tensor, support: Tensor, moves: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of a step's logarithms and of its support, given that of its refined logarithms.

    Shape:
        gradient, refined, scaled, support: (B, C). similarities: (B, B). moves: (B, 1).
        Results: (B, C), (B, C).
    """
    of_rows = torch.where(moves, gradient, 0)
    of_products = torch.addcmul(of_rows, refined, of_rows.sum(1, keepdim=True), value=-1)
    least = _least(support)
    of_support = (of_products / support.clamp_min(least)).masked_fill_(support < least, 0)
    # Rows that stay pass their gradient on; all rows are sources of support.
    of_own = torch.where(moves, of_products, gradient)
    return of_own.addcmul_(scaled, similarities.T @ of_support), of_support


def _least(support: Tensor) -> float:
    """What support of 0 counts as: so far from the smallest number that gradients of its logarithm do not overflow."""
    return pow(torch.finfo(support.dtype).tiny, 0.75)
