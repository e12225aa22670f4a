"""Batches of P identities that look alike, with K images each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.data.samplers.base import Indices
from fastreid_ext.data.samplers.identity import IdentitySampler
from fastreid_ext.data.samplers.registry import SAMPLERS

__all__ = ["SimilarIdentitySampler"]


@SAMPLERS.register(source="Elezi et al. 2022, Group Loss++, sec. 5.1")
class SimilarIdentitySampler(IdentitySampler):
    """Batches of identities of low average distance to each other, their K images from as many cameras as there are.

    Every batch grows around an identity, and all identities take turns in random order: the other P - 1 are drawn from
    its 2 (P - 1) nearest, all equally likely, so that a later epoch has other batches. Which are the nearest a training
    finds out (`engine.hooks.SimilarClasses`) and tells by `use`; until then the others are drawn from all identities.

    Attributes:
        similar: nearest identities of each, nearest first, by their places in `images_of`, which are their labels where
            these are numbered from 0; a row of -1 is that of an identity of which nothing is known.
        num_similar: how many of them an identity should have: 2 (P - 1), or all others if there are fewer.
    """

    def __init__(
        self, pids: Sequence[int], camids: Sequence[int], *, batch_size: int, num_instances: int = 4, seed: int = 0
    ) -> None:
        super().__init__(pids, camids, batch_size=batch_size, num_instances=num_instances, seed=seed)
        self.similar: NDArray[np.integer] | None = None
        self.num_similar = min(2 * (self.num_identities - 1), len(self.images_of) - 1)

    def use(self, similar: NDArray[np.integer] | None) -> None:
        """Makes batches of these neighbours from now on; iterators that have begun an epoch go on with it as it was.

        Shape:
            similar: (C, M), C the number of identities and M at least P - 1; None forgets them.

        Raises:
            ValueError: the rows are not those of the identities, or too short for a batch.
        """
        if similar is not None and (len(similar) != len(self.images_of) or similar.shape[1] < self.num_identities - 1):
            raise ValueError(
                f"a batch of {self.num_identities} of {len(self.images_of)} identities takes as many rows of at least "
                f"{self.num_identities - 1} neighbours, not {similar.shape[0]} x {similar.shape[1]}"
            )
        self.similar = similar

    def one_pass(self, rng: np.random.Generator) -> Indices:
        # An epoch takes no more batches than that, however many identities there are.
        centres = rng.permutation(len(self.images_of))[: self.batches_per_epoch]
        together = [identity for centre in centres for identity in (centre, *self._others(centre, rng))]
        return np.concatenate([self.instances(self.images_of[identity], rng) for identity in together])

    def _others(self, centre: int, rng: np.random.Generator) -> NDArray[np.integer]:
        """P - 1 identities for the batch of one."""
        number = self.num_identities - 1
        if self.similar is not None and (self.similar[centre] >= 0).all():
            return rng.choice(self.similar[centre], number, replace=False)
        others = rng.choice(len(self.images_of) - 1, number, replace=False)
        return others + (others >= centre)
