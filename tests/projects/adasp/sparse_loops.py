"""The sparse pair-wise losses as they are printed: sums of exponentials in loops over identities and their images."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["KINDS", "adaptive_weights", "image_sets", "positives", "slow_loss"]

KINDS = ("adasp", "sp-h", "sp-lh")


def image_sets(pids: Tensor) -> dict[int, list[int]]:
    """Images of each identity, in the order in which identities come."""
    sets: dict[int, list[int]] = {}
    for image, pid in enumerate(pids.tolist()):
        sets.setdefault(pid, []).append(image)
    return sets


def positives(cosines: Tensor, images: list[int], tau: float) -> tuple[Tensor, Tensor]:
    """Hardest and least-hard positive similarity of the identity that has these images."""
    of_pairs, of_images = [], []
    for a in images:
        row = [torch.exp(-cosines[a, b] / tau) for b in images]
        of_pairs += row
        of_images.append(1 / torch.stack(row).sum())
    return -tau * torch.stack(of_pairs).sum().log(), tau * torch.stack(of_images).sum().log()


def adaptive_weights(embeddings: Tensor, pids: Tensor, tau: float) -> dict[int, float]:
    """Of each identity, how much of the hardest positive kind "adasp" takes."""
    cosines = _cosines(embeddings.detach())
    weights = {}
    for pid, images in image_sets(pids).items():
        hardest, least_hard = (value.item() for value in positives(cosines, images, tau))
        weights[pid] = 2 * hardest * least_hard / (hardest + least_hard) if hardest > 0 else 0.0
    return weights


def slow_loss(
    embeddings: Tensor, pids: Tensor, tau: float, kind: str, weights: dict[int, float] | None = None
) -> Tensor:
    """The loss; `weights` of the adaptive positive are those of the embeddings unless they are given."""
    cosines = _cosines(embeddings)
    fixed = {"sp-h": dict.fromkeys(pids.tolist(), 1.0), "sp-lh": dict.fromkeys(pids.tolist(), 0.0)}
    weights = weights or fixed.get(kind) or adaptive_weights(embeddings, pids, tau)
    sets = image_sets(pids)
    losses = []
    for pid, images in sets.items():
        hardest, least_hard = positives(cosines, images, tau)
        positive = weights[pid] * hardest + (1 - weights[pid]) * least_hard
        total = cosines.new_zeros(())
        for other, others in sets.items():
            if other != pid:
                negative = tau * torch.stack([(cosines[a, b] / tau).exp() for a in images for b in others]).sum().log()
                total = total + (negative / tau).exp()
        losses.append((1 + total * (-positive / tau).exp()).log())
    return torch.stack(losses).mean()


def _cosines(embeddings: Tensor) -> Tensor:
    unit = torch.stack([x / x.norm() for x in embeddings])
    return torch.stack([torch.stack([(a * b).sum() for b in unit]) for a in unit])
