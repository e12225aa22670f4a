"""Mean features of classes, out of what a training computes anyway."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastreid_ext.config import ConfigError
from fastreid_ext.functional.distances import normalize
from fastreid_ext.modeling.heads.features import features_by_branch
from fastreid_ext.utils.dist import gather

__all__ = ["ClassMeans"]


class ClassMeans:
    """Means of the unit features of every class, each of the last epoch in which the class was seen.

    Features come from a pre-hook of the criterion, those of several branches behind each other, and are summed on their
    device without a word to the host. Every rank sums the features of all ranks in the order in which one process would
    have them. A compiled model calls the hook between two compiled parts.

    Args:
        num_classes: labels are numbered from 0.

    Attributes:
        gathering: whether features are looked at now, so that only those of training steps are.
        known: classes that have been seen, (C,).
        means: of their unit features, (C, D), zero for others; None before the first.
    """

    def __init__(self, num_classes: int) -> None:
        self.gathering = False
        self.known = torch.zeros(num_classes, dtype=torch.bool)
        self.means: Tensor | None = None
        self._sums = self._counts = torch.empty(0)

    def __deepcopy__(self, memo: dict[int, Any]) -> ClassMeans:
        """Itself: copies of a model, which are made to evaluate it, need no means of their own."""
        return self

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch leaves it untyped
    @torch.no_grad()
    def see(self, criterion: nn.Module, arguments: tuple[Any, ...]) -> None:
        """Adds the features of a batch; a forward pre-hook of a criterion called with outputs and pids.

        Raises:
            ConfigError: there are no features among the outputs.
        """
        if self.gathering:
            outputs, pids = arguments
            features = list(features_by_branch(outputs).values())
            if not features:
                raise ConfigError(
                    "DATALOADER.SAMPLER_TRAIN SimilarIdentitySampler compares features, but the head gives none: take "
                    "another MODEL.HEADS.NAME or NaiveIdentitySampler"
                )
            self.add(torch.cat([of_branch.float() for of_branch in features], dim=1), pids)

    def add(self, features: Tensor, pids: Tensor) -> None:
        """Adds the features of this process's part of a batch; all ranks call it with parts of one size.

        Shape:
            features: (B, D). pids: (B,).
        """
        features, pids = gather(normalize(features)), gather(pids)
        if self.means is None:
            self.means = features.new_zeros(len(self.known), features.shape[1])
            self._sums, self._counts = torch.zeros_like(self.means), features.new_zeros(len(self.known))
        self._move(features.device)
        self._sums.index_add_(0, pids, features)
        self._counts.index_add_(0, pids, torch.ones_like(pids, dtype=self._counts.dtype))

    def end_epoch(self) -> None:
        """Makes means of the sums, and starts new sums."""
        if self.means is not None:
            seen = self._counts > 0
            torch.where(seen[:, None], self._sums / self._counts.clamp(min=1)[:, None], self.means, out=self.means)
            self.known = self.known.to(seen.device) | seen
            self._sums.zero_()
            self._counts.zero_()

    def state_dict(self) -> dict[str, Tensor]:
        """Tensors; none before the first feature."""
        if self.means is None:
            return {}
        return {"known": self.known, "means": self.means, "sums": self._sums, "counts": self._counts}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state_dict` returned."""
        if state:
            self.known, self.means = state["known"].clone(), state["means"].clone()
            self._sums, self._counts = state["sums"].clone(), state["counts"].clone()

    def _move(self, device: torch.device) -> None:
        """A resumed run has them on the CPU at first."""
        if self.means is not None and self.means.device != device:
            self.known, self.means = self.known.to(device), self.means.to(device)
            self._sums, self._counts = self._sums.to(device), self._counts.to(device)
