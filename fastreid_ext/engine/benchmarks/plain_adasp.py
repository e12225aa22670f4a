"""The sparse pair-wise losses as they are defined, for K images an identity that lie one behind the other."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, softplus

__all__ = ["dense_loss", "logsumexp_loss"]


def logsumexp_loss(embeddings: Tensor, images: int, temperature: float, kind: str) -> Tensor:
    """In logarithms, the negative similarities of all identities with all; autograd finds the way back.

    Args:
        embeddings: of all identities.
        images: of each identity.
        temperature: of the loss.
        kind: "adasp", "sp-h" or "sp-lh".

    Shape:
        embeddings: (N * images, D).
        Result: scalar.
    """
    x = normalize(embeddings)
    number = len(x) // images
    pairs = (x @ x.T / temperature).reshape(number, images, number, images)
    each = torch.arange(number, device=x.device)
    of_images = (-pairs[each, :, each]).logsumexp(2)
    itself = torch.eye(number, dtype=torch.bool, device=x.device)
    negatives = pairs.logsumexp((1, 3)).masked_fill(itself, -torch.inf).logsumexp(1)
    hardest, least_hard = -of_images.logsumexp(1), (-of_images).logsumexp(1)
    return softplus(negatives - _positive(hardest, least_hard, temperature, kind)).mean()


def dense_loss(embeddings: Tensor, images: int, temperature: float, kind: str) -> Tensor:
    """In sums of exponentials, which masks of all pairs select: Kronecker products of unit matrices and ones.

    Exponentials overflow in float32 at temperatures below 0.02.

    Args:
        embeddings: of all identities.
        images: of each identity.
        temperature: of the loss.
        kind: "adasp", "sp-h" or "sp-lh".

    Shape:
        embeddings: (N * images, D).
        Result: scalar.
    """
    x = normalize(embeddings)
    unit = torch.eye(len(x) // images, dtype=x.dtype, device=x.device)
    same = torch.kron(unit, torch.ones(images, images, dtype=x.dtype, device=x.device))
    sums = torch.kron(unit, torch.ones(1, images, dtype=x.dtype, device=x.device))
    similarities = x @ x.T / temperature
    negatives = (sums @ (similarities.exp() * (1 - same)) @ sums.T).sum(1)
    of_images = ((-similarities).exp() * same).sum(1)
    hardest, least_hard = 1 / (sums @ of_images), sums @ (1 / of_images)
    positive = _positive(hardest.log(), least_hard.log(), temperature, kind).exp()
    return (1 + negatives / positive).log().mean()


def _positive(hardest: Tensor, least_hard: Tensor, temperature: float, kind: str) -> Tensor:
    """Of similarities over the temperature."""
    if kind != "adasp":
        return hardest if kind == "sp-h" else least_hard
    hard, least = hardest.detach() * temperature, least_hard.detach() * temperature
    weight = torch.where(hard > 0, 2 * hard * least / (hard + least), 0)
    return weight * hardest + (1 - weight) * least_hard
