"""Batches of similar identities follow the features."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fastreid_ext.config import ConfigError
from fastreid_ext.data.loader import TrainLoader
from fastreid_ext.data.samplers import BatchSampler, BatchStream, SimilarIdentitySampler, StagedSampler
from fastreid_ext.engine.class_means import ClassMeans
from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.functional.class_neighbours import nearest_classes
from fastreid_ext.utils.dist import each_rank_its_rows
from fastreid_ext.utils.logger import get_logger

__all__ = ["SimilarClasses", "similar_classes_hook"]


class SimilarClasses(Hook):
    """Tells a `SimilarIdentitySampler` between two epochs which identities are near to each other.

    The features are those of the epoch's own steps, so that an update costs products of class means and the batches
    that were made ahead, which are made anew, and grows with the number of classes, not of images. It happens when an
    epoch begins, and only if the epoch's batches depend on it; the first stage of a training gathers features, too.

    Args:
        criterion: of the model that is trained; called with a head's outputs and pids that are numbered from 0.
        sampler: that is told.
        stream: of its batches, or of a `StagedSampler`'s of which it is a part.
        device: of the features, on which a resumed run finds neighbours as one that went on does.
    """

    def __init__(
        self,
        criterion: nn.Module,
        sampler: SimilarIdentitySampler,
        stream: BatchStream,
        device: torch.device | str = "cpu",
    ) -> None:
        self.criterion, self.sampler, self.stream, self.device = criterion, sampler, stream, device
        self.means = ClassMeans(len(sampler.images_of))
        self._handle: Any = None
        self._level = logging.INFO

    def before_train(self) -> None:
        self._handle = self.criterion.register_forward_pre_hook(self.means.see)

    def before_epoch(self) -> None:
        if self.trainer.iteration % self.trainer.iters_per_epoch:
            return
        started = time.perf_counter()
        self.means.end_epoch()
        if self._of_this_epoch() is not self.sampler:
            return
        similar = self._similar()
        if similar is None:
            return
        self.sampler.use(similar)
        # The batches that were made ahead are of the neighbours of before.
        self.stream.load_state_dict(self.stream.state_dict() | {"iteration": self.trainer.iteration})
        self.trainer.restart_batches()
        seconds, known = time.perf_counter() - started, int((similar[:, 0] >= 0).sum())
        get_logger(__name__).log(
            self._level, f"the {similar.shape[1]} nearest of {known} identities, found in {seconds:.2f} s"
        )
        self._level = logging.DEBUG

    def before_step(self) -> None:
        self.means.gathering = True

    def after_step(self) -> None:
        self.means.gathering = False

    def close(self) -> None:
        self.means.gathering = False
        if self._handle is not None:
            self._handle.remove()

    def state_dict(self) -> dict[str, Any]:
        similar = {} if self.sampler.similar is None else {"similar": torch.from_numpy(self.sampler.similar)}
        return {**self.means.state_dict(), **similar}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        means = {name: value.to(self.device) for name, value in state.items() if name != "similar"}
        self.means.load_state_dict(means)
        self.sampler.use(state["similar"].numpy() if "similar" in state else None)

    def _of_this_epoch(self) -> BatchSampler:
        sampler = self.stream.sampler
        if isinstance(sampler, StagedSampler):
            return sampler.first if self.trainer.epoch < sampler.epochs else sampler.then
        return sampler

    def _similar(self) -> NDArray[np.int32] | None:
        """Neighbours of the identities that were seen, the same on all ranks; None if these are too few for a batch."""
        known, means = self.means.known.nonzero().squeeze(1), self.means.means
        number = min(self.sampler.num_similar, len(known) - 1)
        if means is None or number < max(1, self.sampler.num_identities - 1):
            return None
        means = means if len(known) == len(means) else means[known]
        (nearest,) = each_rank_its_rows(lambda rows: (nearest_classes(means, number, rows),), len(known))
        labels = known.cpu().numpy().astype(np.int32)
        similar = np.full((len(self.means.known), number), -1, dtype=np.int32)
        similar[labels] = labels[nearest.numpy()]
        return similar


def similar_classes_hook(model: nn.Module, loader: TrainLoader) -> SimilarClasses | None:
    """The hook that a training needs whose loader has a `SimilarIdentitySampler`, or None for other samplers.

    Raises:
        ConfigError: the model has no criterion to see features at.
    """
    sampler = loader.stream.sampler
    parts = (sampler.first, sampler.then) if isinstance(sampler, StagedSampler) else (sampler,)
    similar = next((part for part in parts if isinstance(part, SimilarIdentitySampler)), None)
    if similar is None:
        return None
    criterion = getattr(model, "criterion", None)
    if not isinstance(criterion, nn.Module):
        raise ConfigError(
            f"SimilarIdentitySampler sees features where losses are computed from them, but {type(model).__name__} has "
            f"no criterion: take NaiveIdentitySampler"
        )
    return SimilarClasses(criterion, similar, loader.stream, next(model.parameters()).device)
