"""How well predictions rank what they predict, as a loss."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["ranking_loss"]


def ranking_loss(predicted: Tensor, actual: Tensor, *, temperature: float = 0.01) -> Tensor:
    """Kendall's rank correlation made smooth: the mean over all pairs of 1 - tanh(d_predicted d_actual / temperature).

    A pair whose differences have one sign costs almost nothing, one of opposite signs almost two, and a pair that is
    tied on either side one.

    Reconstructed: the supplement of the paper names L_K and its temperature, the formula is in the main paper, which
    was not at hand. This is one minus Kendall's tau, with the sign replaced by a hyperbolic tangent.

    Shape:
        predicted: (B,).
        actual: (B,).
        returns: a scalar, at least of single precision; zero, with a graph, where there is no pair.

    Source: AutoLoss-GMS, section F (L_K).
    """
    # Half precision would not resolve the products of small differences.
    dtype = torch.promote_types(predicted.dtype, torch.float32)
    predicted, actual = predicted.to(dtype), actual.to(dtype)
    if len(predicted) < 2:
        return 0 * predicted.sum()
    first, second = torch.triu_indices(len(predicted), len(predicted), offset=1, device=predicted.device)
    agreement = (predicted[first] - predicted[second]) * (actual[first] - actual[second])
    return (1 - (agreement / temperature).tanh()).mean()
