"""How far two classifiers are apart."""

from __future__ import annotations

from torch import Tensor

from fastreid_ext.functional.precision import widen

__all__ = ["jeffreys_divergence"]


def jeffreys_divergence(logits: Tensor, others: Tensor, *, temperature: float = 1.0) -> Tensor:
    """The mean of both Kullback-Leibler divergences of two softened distributions, times the squared temperature.

    With p and q the softmax of logits divided by the temperature, `temperature^2 * sum((p - q) * (log p - log q)) / 2`,
    averaged over rows; the factor keeps gradients of one size (Hinton et al. 2015, arXiv:1503.02531). FastReID's
    distillation calls it Jensen-Shannon divergence.

    Shape:
        logits, others: (B, C).
        Result: scalar, of float32 at least.

    Raises:
        ValueError: numbers of classes that differ.
    """
    if logits.shape != others.shape:
        raise ValueError(
            f"logits of {tuple(others.shape)} (images, classes) cannot teach logits of {tuple(logits.shape)}: student "
            f"and teachers must tell the same identities apart"
        )
    log_p, log_q = ((widen(x) / temperature).log_softmax(1) for x in (logits, others))
    apart = (log_p.exp() - log_q.exp()) * (log_p - log_q)
    return temperature**2 / 2 * apart.sum(1).mean()
