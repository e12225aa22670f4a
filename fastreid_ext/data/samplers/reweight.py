"""Batches whose identities come from several data sets in given shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastreid_ext.config import CfgNode
from fastreid_ext.data.samplers.base import Indices, SamplerError
from fastreid_ext.data.samplers.identity import IdentitySampler
from fastreid_ext.data.samplers.registry import SAMPLERS

__all__ = ["SetReWeightSampler"]


@SAMPLERS.register(source="FastReID: He et al. 2020, arXiv:2006.02631")
class SetReWeightSampler(IdentitySampler):
    """P identities with K images each, of which every data set has its share, however large it is.

    A set of weight w has P·w / Σw identities in each batch. Where that is no whole number, batches have one more or one
    less, and that many on average. Within a set, the chance of an identity is in proportion to its number of images.

    Args:
        pids: identity of every training image.
        camids: camera of every training image.
        sets: data set of every training image, counted from 0; an identity belongs to one.
        weights: of the sets, in their order; only their ratios matter, and 0 leaves a set out.
        batch_size: images of a step over all processes and accumulation passes.
        num_instances: images of an identity in a batch.
        seed: of all that is random.

    Raises:
        SamplerError: the weights are not one for each set, or no shares; a set has fewer identities than its share of a
            batch; or as for other identity samplers.
    """

    def __init__(
        self,
        pids: Sequence[int],
        camids: Sequence[int],
        *,
        sets: Sequence[int],
        weights: Sequence[float],
        batch_size: int,
        num_instances: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(pids, camids, batch_size=batch_size, num_instances=num_instances, seed=seed)
        of_identity = np.asarray(sets)[[images[0] for images in self.images_of]]
        if len(weights) <= of_identity.max() or not _are_shares(weights):
            raise SamplerError(
                f"DATALOADER.SET_WEIGHT {list(weights)} for {of_identity.max() + 1} data sets: it takes a weight for "
                f"each set of DATASETS.NAMES, in their order, none negative and not all 0"
            )
        # Rounded, so that whole numbers are whole.
        self.bounds = np.round(np.cumsum(weights) / sum(weights) * self.num_identities, 9)
        self.members = [np.flatnonzero(of_identity == number) for number in range(len(weights))]
        self._refuse_small_sets(weights)
        counts = np.array([len(images) for images in self.images_of])
        self.chances = [counts[members] / counts[members].sum() for members in self.members]

    @classmethod
    def options(cls, cfg: CfgNode, sets: Sequence[int]) -> dict[str, Any]:
        return {"sets": sets, "weights": cfg.DATALOADER.SET_WEIGHT}

    def one_pass(self, rng: np.random.Generator) -> Indices:
        chosen = [identity for _ in range(self.batches_per_epoch) for identity in self._identities(rng)]
        return np.concatenate([self.instances(self.images_of[identity], rng) for identity in chosen])

    def _identities(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """P identities of a batch, those of the sets mixed, so that all processes have some of each."""
        # Evenly spaced points between the sets' bounds round the shares of a batch up and down without a bias.
        points = np.arange(self.num_identities) + rng.random()
        numbers = np.bincount(np.searchsorted(self.bounds[:-1], points, side="right"), minlength=len(self.members))
        drawn = [
            rng.choice(members, number, replace=False, p=chances)
            for members, number, chances in zip(self.members, numbers, self.chances, strict=True)
            if number
        ]
        return rng.permutation(np.concatenate(drawn))

    def _refuse_small_sets(self, weights: Sequence[float]) -> None:
        shares = np.diff(self.bounds, prepend=0)
        for number, (members, share) in enumerate(zip(self.members, shares, strict=True)):
            if len(members) < np.ceil(np.round(share, 9)):
                raise SamplerError(
                    f"data set {number} of DATASETS.NAMES, counted from 0, has {len(members)} identities, but its "
                    f"weight in DATALOADER.SET_WEIGHT {list(weights)} asks for {share:g} of the "
                    f"{self.num_identities} in a batch (SOLVER.IMS_PER_BATCH {self.batch_size} / "
                    f"DATALOADER.NUM_INSTANCE {self.num_instances}): lower its weight or IMS_PER_BATCH"
                )


def _are_shares(weights: Sequence[float]) -> bool:
    return bool(np.isfinite(weights).all() and min(weights) >= 0 and max(weights) > 0)
