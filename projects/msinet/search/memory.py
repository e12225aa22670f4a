"""A memory of one feature an identity, and the contrastive loss on it (eqs. 2 and 3 of the paper)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fastreid_ext.functional.distances import normalize
from fastreid_ext.functional.precision import widen
from fastreid_ext.modeling.losses.base import check_inputs

__all__ = ["ClusterMemory"]


class ClusterMemory(nn.Module):
    """Centroids of identities (c) that classify features and follow them.

    Features and centroids are compared at unit length. Nothing is learned: centroids start as `initialise` says and
    move with `update`.

    Args:
        num_classes: identities.
        dim: width of the features.
        temperature: of the softmax (tau).
        momentum: share of the old centroid in the new one (beta).

    Attributes:
        centroids: (num_classes, dim), of unit length; zero before `initialise`.
    """

    centroids: Tensor

    def __init__(self, num_classes: int, dim: int, *, temperature: float = 0.05, momentum: float = 0.2) -> None:
        super().__init__()
        if temperature <= 0 or not 0 <= momentum <= 1:
            raise ValueError(
                f"a memory needs a temperature above 0 and a momentum from 0 to 1; got {temperature} and {momentum}"
            )
        self.temperature, self.momentum = temperature, momentum
        self.register_buffer("centroids", torch.zeros(num_classes, dim))

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """Eq. 2: cross entropy of the features' similarities to all centroids, averaged over the features.

        Shape:
            features: (B, dim). pids: (B,), from 0 to num_classes - 1.
            Result: scalar; 0 for an empty batch.
        """
        check_inputs(features, pids)
        features = normalize(widen(features))
        with torch.autocast(features.device.type, enabled=False):
            logits = features @ self.centroids.to(features.dtype).mT / self.temperature
        total: Tensor = cross_entropy(logits, pids, reduction="sum")
        return total / max(1, len(pids))

    @torch.no_grad()
    def initialise(self, features: Tensor, pids: Tensor) -> None:
        """Centroids become the mean features of their identities; those without a feature stay.

        Shape:
            features: (N, dim). pids: (N,).
        """
        own = self.centroids
        features, pids = normalize(widen(features.to(own.device))).to(own.dtype), pids.to(own.device)
        sums = torch.zeros_like(own).index_add_(0, pids, features)
        seen = torch.bincount(pids, minlength=len(own))[:, None] > 0
        own.copy_(torch.where(seen, normalize(sums), own))

    @torch.no_grad()
    def update(self, features: Tensor, pids: Tensor) -> None:
        """Eq. 3 with each feature in turn; then centroids that have moved are brought back to unit length.

        Shape:
            features: (B, dim). pids: (B,).
        """
        own = self.centroids
        features = normalize(widen(features)).to(own.dtype)
        # A feature's share shrinks with every later one of its identity.
        later = (pids[:, None] == pids[None]).triu(1).sum(1).to(own.dtype)
        shares = (1 - self.momentum) * self.momentum**later
        added = torch.zeros_like(own).index_add_(0, pids, shares[:, None] * features)
        count = torch.zeros_like(own[:, 0]).index_add_(0, pids, torch.ones_like(pids, dtype=own.dtype))[:, None]
        moved = normalize(self.momentum**count * own + added)
        own.copy_(torch.where(count > 0, moved, own))
