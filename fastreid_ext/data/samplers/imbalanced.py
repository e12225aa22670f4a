"""Images of rare identities as often as those of frequent ones."""

from __future__ import annotations

import numpy as np

from fastreid_ext.data.samplers.base import BatchSampler, Indices
from fastreid_ext.data.samplers.registry import SAMPLERS

__all__ = ["ImbalancedDatasetSampler"]


@SAMPLERS.register(source="FastReID: He et al. 2020, arXiv:2006.02631")
class ImbalancedDatasetSampler(BatchSampler):
    """Every place of a batch is an identity drawn at random, all equally likely, and a random image of it.

    Images are drawn with replacement: an epoch leaves out many of the frequent identities, and has those of the rare
    ones several times, perhaps in one batch.
    """

    def one_pass(self, rng: np.random.Generator) -> Indices:
        _, identities, counts = np.unique(self.pids, return_inverse=True, return_counts=True)
        chances = 1 / (counts[identities] * len(counts))
        return rng.choice(len(self.pids), len(self.pids), p=chances)
