"""One sampler for the first epochs, another for the rest."""

from __future__ import annotations

import numpy as np

from fastreid_ext.data.samplers.base import BatchSampler, Indices

__all__ = ["StagedSampler"]


class StagedSampler(BatchSampler):
    """The batches of one sampler for some epochs, then those of another one, whose epochs go on counting.

    Args:
        first: of the first epochs.
        then: of the others; of the same images, batch size and seed.
        epochs: how many are the first's.
    """

    def __init__(self, first: BatchSampler, then: BatchSampler, epochs: int) -> None:
        super().__init__(
            then.pids.tolist(),
            then.camids.tolist(),
            batch_size=then.batch_size,
            num_instances=then.num_instances,
            seed=then.seed,
        )
        self.first, self.then, self.epochs = first, then, epochs
        self.group_size = int(np.lcm(first.group_size, then.group_size))

    def epoch(self, epoch: int) -> Indices:
        """Indices of the images of each batch of an epoch, (batches_per_epoch, batch_size)."""
        return (self.first if epoch < self.epochs else self.then).epoch(epoch)

    def one_pass(self, rng: np.random.Generator) -> Indices:
        """A pass of the second sampler; the first's are to be had of itself."""
        return self.then.one_pass(rng)
