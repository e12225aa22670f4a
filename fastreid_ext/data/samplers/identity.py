"""Batches of P identities with K images each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastreid_ext.data.samplers.base import BatchSampler, Indices, SamplerError
from fastreid_ext.data.samplers.registry import SAMPLERS

__all__ = ["BalancedIdentitySampler", "NaiveIdentitySampler"]


class IdentitySampler(BatchSampler):
    """Counts identities before the first batch, so that too few of them are an error and never a hang."""

    def __init__(
        self, pids: Sequence[int], camids: Sequence[int], *, batch_size: int, num_instances: int = 4, seed: int = 0
    ) -> None:
        super().__init__(pids, camids, batch_size=batch_size, num_instances=num_instances, seed=seed)
        self.group_size = num_instances
        order = np.argsort(self.pids, kind="stable")
        starts = np.flatnonzero(np.diff(self.pids[order])) + 1
        self.images_of = np.split(order, starts)
        if self.batch_size % self.num_instances:
            raise SamplerError(
                f"a batch of {self.batch_size} images (SOLVER.IMS_PER_BATCH) cannot hold whole identities of "
                f"{self.num_instances} images (DATALOADER.NUM_INSTANCE): make the one a multiple of the other"
            )
        self.num_identities = self.batch_size // self.num_instances
        if len(self.images_of) < self.num_identities:
            raise SamplerError(
                f"{type(self).__name__} needs {self.num_identities} identities a batch (SOLVER.IMS_PER_BATCH "
                f"{self.batch_size} / DATALOADER.NUM_INSTANCE {self.num_instances}), but the training data have "
                f"{len(self.images_of)}: lower IMS_PER_BATCH, raise NUM_INSTANCE, or take TrainingSampler"
            )

    def instances(self, images: Indices, rng: np.random.Generator) -> Indices:
        """K images: the first of each camera in random order, then the second of each, ...; repeated when needed."""
        shuffled = rng.permutation(images)
        cameras = self.camids[shuffled]
        by_camera = np.argsort(cameras, kind="stable")
        starts = np.flatnonzero(np.diff(cameras[by_camera], prepend=cameras.min() - 1))
        turn = np.empty(len(images), dtype=np.int64)
        turn[by_camera] = np.arange(len(images)) - np.repeat(starts, np.diff(starts, append=len(images)))
        chosen = shuffled[np.argsort(turn, kind="stable")][: self.num_instances]
        if len(chosen) < self.num_instances:
            chosen = np.concatenate((chosen, rng.choice(images, self.num_instances - len(chosen))))
        return chosen


@SAMPLERS.register(source="Hermans et al. 2017, arXiv:1703.07737", aliases=("RandomIdentitySampler",))
class NaiveIdentitySampler(IdentitySampler):
    """P random identities with their next K images, until fewer than P identities have images left."""

    def one_pass(self, rng: np.random.Generator) -> Indices:
        groups = [self._groups(images, rng) for images in self.images_of]
        left = np.array([len(group) for group in groups])
        chosen: list[Indices] = []
        while len(available := np.flatnonzero(left)) >= self.num_identities:
            for identity in rng.choice(available, self.num_identities, replace=False):
                left[identity] -= 1
                chosen.append(groups[identity][left[identity]])
        return np.concatenate(chosen)

    def _groups(self, images: Indices, rng: np.random.Generator) -> Indices:
        """The shuffled images in groups of K, (groups, K); only identities with fewer than K repeat some."""
        shuffled = rng.permutation(images)
        if len(shuffled) < self.num_instances:
            repeated = rng.choice(images, self.num_instances - len(images))
            return np.concatenate((shuffled, repeated))[None]
        whole = len(shuffled) // self.num_instances
        return shuffled[: whole * self.num_instances].reshape(whole, self.num_instances)


@SAMPLERS.register(source="FastReID: He et al. 2020, arXiv:2006.02631")
class BalancedIdentitySampler(IdentitySampler):
    """Every identity once a pass, its K images from as many cameras as there are."""

    def one_pass(self, rng: np.random.Generator) -> Indices:
        identities = rng.permutation(len(self.images_of))
        # A batch must not hold an identity twice, which the seam of two passes could bring.
        identities = identities[: len(identities) // self.num_identities * self.num_identities]
        return np.concatenate([self.instances(self.images_of[identity], rng) for identity in identities])
