"""Plain shuffling."""

from __future__ import annotations

import numpy as np

from fastreid_ext.data.samplers.base import BatchSampler, Indices
from fastreid_ext.data.samplers.registry import SAMPLERS

__all__ = ["TrainingSampler"]


@SAMPLERS.register()
class TrainingSampler(BatchSampler):
    """All images in random order."""

    def one_pass(self, rng: np.random.Generator) -> Indices:
        return rng.permutation(len(self.pids))
