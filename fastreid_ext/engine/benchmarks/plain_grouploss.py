"""Group Loss as it is printed, in probabilities, by autograd."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

__all__ = ["dense_loss", "plain_refine", "restricted_loss"]


def dense_loss(
    embeddings: Tensor, logits: Tensor, pids: Tensor, anchors: Tensor, *, temperature: float, steps: int
) -> Tensor:
    """Over all classes; unlikely ones underflow, and an image without support gives NaN.

    Args:
        embeddings: of a batch.
        logits: of the classifier.
        pids: true classes.
        anchors: which images are labelled.
        temperature: of the softmax.
        steps: of refinement.

    Shape:
        embeddings: (B, D). logits: (B, C). pids: (B,), in [0, C). anchors: (B,), boolean.
        Result: scalar.

    Source: Elezi et al. 2022 (Group Loss++), equations 3, 7 and 14, Algorithm 1.
    """
    return _refined_loss(embeddings, (logits / temperature).softmax(1), pids, anchors, steps)


def restricted_loss(
    embeddings: Tensor, logits: Tensor, pids: Tensor, anchors: Tensor, *, temperature: float, steps: int
) -> Tensor:
    """Over the classes of the batch, whose probabilities are picked and normalised again (section 8.3).

    Args:
        embeddings: of a batch.
        logits: of the classifier.
        pids: true classes.
        anchors: which images are labelled.
        temperature: of the softmax.
        steps: of refinement.

    Shape:
        embeddings: (B, D). logits: (B, C). pids: (B,), in [0, C). anchors: (B,), boolean.
        Result: scalar.
    """
    classes = torch.unique_consecutive(pids.sort().values)
    true = torch.searchsorted(classes, pids)
    probabilities = (logits / temperature).softmax(1)[:, classes]
    return _refined_loss(embeddings, probabilities / probabilities.sum(1, keepdim=True), true, anchors, steps)


def plain_refine(x: Tensor, similarities: Tensor, steps: int) -> Tensor:
    """Assignments after some steps of refinement (equation 7).

    Args:
        x: assignments, in probabilities.
        similarities: of the images.
        steps: of refinement.

    Shape:
        x: (B, C). similarities: (B, B). Result: (B, C).
    """
    for _ in range(steps):
        products = x * (similarities @ x)
        x = products / products.sum(1, keepdim=True)
    return x


def _refined_loss(embeddings: Tensor, probabilities: Tensor, pids: Tensor, anchors: Tensor, steps: int) -> Tensor:
    known = one_hot(pids, probabilities.shape[1]).to(probabilities.dtype)
    x = torch.where(anchors[:, None], known, probabilities)
    itself = torch.eye(len(x), dtype=torch.bool, device=x.device)
    similarities = torch.corrcoef(embeddings).relu().masked_fill(itself, 0)
    of_true = plain_refine(x, similarities, steps).gather(1, pids[:, None]).squeeze(1)
    return -of_true[~anchors].log().mean()
