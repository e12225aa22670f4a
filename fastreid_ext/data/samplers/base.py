"""What a sampler is: a function from seed and epoch to batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.config import CfgNode

__all__ = ["BatchSampler", "Indices", "SamplerError"]

Indices = NDArray[np.int64]


class SamplerError(ValueError):
    """The data cannot fill a batch; the message says what is there, what is needed, and which keys to change."""


class BatchSampler(ABC):
    """Batches of an epoch as a pure function of seed and epoch, which makes resumed and distributed runs exact.

    Args:
        pids: identity of every training image.
        camids: camera of every training image.
        batch_size: images of a step over all processes and accumulation passes.
        num_instances: images of an identity in a batch, for samplers that care.
        seed: of all that is random.

    Attributes:
        batches_per_epoch: whole batches in the data, at least one.
        group_size: consecutive images that belong together and must not be parted between processes.

    Raises:
        SamplerError: there are no images, or a size is not positive.
    """

    def __init__(
        self, pids: Sequence[int], camids: Sequence[int], *, batch_size: int, num_instances: int = 4, seed: int = 0
    ) -> None:
        if not len(pids):
            raise SamplerError("there are no training images to sample from")
        if min(batch_size, num_instances) < 1:
            raise SamplerError(
                f"the images of a batch (SOLVER.IMS_PER_BATCH {batch_size}) and of an identity in it "
                f"(DATALOADER.NUM_INSTANCE {num_instances}) must be at least 1"
            )
        self.pids = np.asarray(pids, dtype=np.int64)
        self.camids = np.asarray(camids, dtype=np.int64)
        self.batch_size, self.num_instances, self.seed = batch_size, num_instances, seed
        self.batches_per_epoch = max(1, len(self.pids) // batch_size)
        self.group_size = 1

    @classmethod
    def options(cls, cfg: CfgNode, sets: Sequence[int]) -> dict[str, Any]:
        """Further keyword arguments of a sampler that takes more than the usual ones.

        Args:
            cfg: the config.
            sets: for every training image, the place of its data set in `DATASETS.NAMES`.
        """
        return {}

    def epoch(self, epoch: int) -> Indices:
        """Indices of the images of each batch of an epoch, (batches_per_epoch, batch_size)."""
        rng = np.random.default_rng([self.seed, epoch])
        needed = self.batches_per_epoch * self.batch_size
        passes: list[Indices] = []
        while sum(map(len, passes)) < needed:
            passes.append(self.one_pass(rng))
        return np.concatenate(passes)[:needed].reshape(self.batches_per_epoch, self.batch_size)

    @abstractmethod
    def one_pass(self, rng: np.random.Generator) -> Indices:
        """Indices of one pass over the data, never empty; passes follow each other until an epoch is full."""
