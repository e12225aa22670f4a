"""Group Loss as the paper prints it: probabilities, image by image and class by class."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "Batch",
    "consistency",
    "correlation",
    "draw_batch",
    "draw_relations",
    "refined_rows",
    "slow_loss",
    "slow_losses",
    "slow_weights",
]

# Python's floats, or tensors of one number where a gradient is wanted.
Rows = Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Batch:
    """What the loss takes, in float64, and the anchors."""

    embeddings: Tensor
    logits: Tensor
    pids: Tensor
    anchors: Tensor


def draw_batch(seed: int, images: int = 8, classes: int = 5, dim: int = 4, anchors: float = 0.3) -> Batch:
    """Identities begin with 1, and each identity's embeddings and logits have something in common."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    pids = torch.randint(1, classes, (images,), generator=generator)
    embeddings = normal(images, dim) + normal(classes, dim)[pids]
    logits = 2 * normal(images, classes) + torch.eye(classes, dtype=torch.float64)[pids]
    return Batch(embeddings, logits, pids, torch.rand(images, generator=generator) < anchors)


def draw_relations(seed: int, images: int, known: float) -> Tensor:
    """Of some pairs, whether they are similar."""
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(2, (images, images), generator=generator) * 2 - 1
    found = torch.where(torch.rand(images, images, generator=generator) < known, signs, 0).triu(1)
    return found + found.T


def correlation(a: Tensor, b: Tensor) -> Any:
    """Eq. 3; 0 of an embedding without variance, for which it has 0 / 0."""
    from_mean_a, from_mean_b = a - a.mean(), b - b.mean()
    variances = (from_mean_a**2).mean() * (from_mean_b**2).mean()
    return (from_mean_a * from_mean_b).mean() / variances.sqrt() if variances > 0 else 0.0


def slow_weights(embeddings: Tensor, negatives: str, relations: Tensor | None = None) -> list[list[Any]]:
    """W: correlations of different images, without negative ones (3.4.1), and what is known of pairs (8.2)."""
    images = range(len(embeddings))
    found = [[correlation(embeddings[i], embeddings[j]) for j in images] for i in images]
    lowest = min([found[i][j] for i in images for j in images if i != j], default=0.0)
    for i in images:
        for j in images:
            if i == j:
                found[i][j] = 0.0
            elif relations is not None and relations[i, j] != 0:
                found[i][j] = 1.0 if relations[i, j] > 0 else 0.0
            elif negatives == "shift":
                found[i][j] = found[i][j] - min(lowest, 0.0)
            else:
                found[i][j] = max(found[i][j], 0.0)
    return found


def refined_rows(x: Rows, w: Rows, steps: int, fixed: Collection[int] = ()) -> Rows:
    """Algorithm 1."""
    for _ in range(steps):
        x = [row if i in fixed else _refined_row(i, x, w) for i, row in enumerate(x)]
    return x


def _refined_row(i: int, x: Rows, w: Rows) -> Sequence[Any]:
    """Eqs. 5 and 6; a row without support keeps its value, for which the formula has 0 / 0."""
    images, classes = range(len(x)), range(len(x[i]))
    supports = [sum(w[i][j] * x[j][c] for j in images) for c in classes]
    total = sum(x[i][c] * supports[c] for c in classes)
    return [x[i][c] * supports[c] / total for c in classes] if total > 0 else x[i]


def consistency(x: Rows, w: Rows) -> float:
    """Eq. 9."""
    images, classes = range(len(x)), range(len(x[0]))
    return float(sum(w[i][j] * x[i][c] * x[j][c] for i in images for j in images for c in classes))


def slow_losses(
    batch: Batch,
    *,
    temperature: float = 1.0,
    steps: int = 3,
    similarity: str = "clamp",
    sparse: bool = False,
    relations: Tensor | None = None,
) -> list[Any]:
    """Of each image that is no anchor: infinite where the refined probability of its class is 0."""
    pids, images, classes = batch.pids.tolist(), range(len(batch.pids)), range(batch.logits.shape[1])
    anchors = [i for i in images if batch.anchors[i]]
    x: list[list[Any]] = []
    for i in images:
        # Eq. 14; the sparse form sets the entries of all other classes to 0 and normalises again (8.3).
        exponentials = (batch.logits[i] / temperature).exp()
        kept = [exponentials[c] if c in pids or not sparse else 0.0 for c in classes]
        one_hot = [float(c == pids[i]) for c in classes]
        x.append(one_hot if i in anchors else [value / sum(kept) for value in kept])
    refined = refined_rows(x, slow_weights(batch.embeddings, similarity, relations), steps, anchors)
    return [-torch.as_tensor(refined[i][pids[i]]).log() for i in images if i not in anchors]


def slow_loss(batch: Batch, **options: Any) -> Tensor:
    """Mean over the images that are no anchors; 0 when there is none."""
    losses = slow_losses(batch, **options)
    return torch.stack(losses).mean() if losses else torch.zeros((), dtype=torch.float64)
