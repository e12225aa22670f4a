"""The loss-rejection protocol's last stage: a task so small that any usable loss solves it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.kernels import evaluate
from fastreid_ext.projects.gms.programs import Losses, Programs, encode_losses
from fastreid_ext.projects.gms.toy_kernels import class_cosines, count_assigned, descend
from fastreid_ext.utils.threads import block_pool, in_order

__all__ = ["ToyTask"]

Numbers = NDArray[np.float64]

# Cosines, a function of them, and its derivative.
Curves = tuple[Numbers, Numbers, Numbers]

# Candidates that a thread takes at once.
_BLOCK = 16


class ToyTask:
    """Trains free embeddings and a free classifier with each candidate's loss, and tells how well they are sorted.

    All candidates start from the same normal random numbers and take the same number of steps of plain SGD; a result
    does not depend on which candidates are trained together.

    Args:
        batch_size: embeddings, all of which are in every step; B.
        identities: classes, of equal size up to one.
        width: of an embedding; so few that random embeddings fail.
        steps: of SGD.
        learning_rate: of SGD.
        seed: of the start.

    Source: AutoLoss-GMS, section 3.3 as reconstructed, B = 64.
    """

    def __init__(
        self,
        *,
        batch_size: int = 64,
        identities: int = 8,
        width: int = 12,
        steps: int = 50,
        learning_rate: float = 10.0,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.embeddings = rng.standard_normal((batch_size, width))
        self.weights = rng.standard_normal((identities, width))
        self.pids = np.arange(batch_size) % identities
        self.steps = steps
        self.learning_rate = learning_rate

    def accuracies(self, candidates: Sequence[Candidate]) -> list[float]:
        """Share of each candidate's embeddings that end nearest to the centre of their own class, by cosine.

        It is 0 for a loss that becomes infinite, or no number, on the way.
        """
        return self.accuracies_of_losses(encode_losses(candidates))

    def accuracies_of_losses(self, losses: Losses) -> list[float]:
        """`accuracies` of candidates that are arrays already, on as many threads as torch has."""
        starts = range(0, len(losses), _BLOCK)
        blocks = (np.arange(start, min(start + _BLOCK, len(losses))) for start in starts)
        with block_pool(torch.device("cpu"), len(starts)) as pool:
            return [
                accuracy
                for block in in_order(partial(self._train, losses), blocks, pool=pool, ahead=4)
                for accuracy in block.tolist()
            ]

    def _train(self, losses: Losses, which: NDArray[np.int64]) -> Numbers:
        accuracies = np.zeros(len(which))
        alive = np.arange(len(which))
        embeddings = np.repeat(self.embeddings[None], len(which), axis=0)
        weights = np.repeat(self.weights[None], len(which), axis=0)
        for _ in range(self.steps):
            cosines = self._cosines(embeddings, weights)
            own, finite = _evaluate(losses.target, which[alive], cosines[0])
            others, also_finite = _evaluate(losses.nontarget, which[alive], cosines[1])
            if not (finite & also_finite).all():
                fine = finite & also_finite
                alive, embeddings, weights = alive[fine], embeddings[fine], weights[fine]
                own, others = _rows(own, fine), _rows(others, fine)
            scales = np.exp2(losses.log2_scales[which[alive]])
            descend(embeddings, weights, self.pids, scales, own, others, self.learning_rate)
        counts = np.empty(len(alive), np.int64)
        count_assigned(embeddings, self.pids, len(self.weights), counts)
        accuracies[alive] = counts / len(self.pids)
        return accuracies

    def _cosines(self, embeddings: Numbers, weights: Numbers) -> tuple[Numbers, Numbers]:
        own = np.empty((len(embeddings), len(self.pids)))
        others = np.empty((len(embeddings), len(self.pids) * (len(self.weights) - 1)))
        class_cosines(embeddings, weights, self.pids, own, others)
        return own, others


def _evaluate(programs: Programs, which: NDArray[np.int64], cosines: Numbers) -> tuple[Curves, NDArray[np.bool_]]:
    """Cosines, values and slopes, and whether all of them are finite; outside of its domain a function is held."""
    values, slopes, faults = np.empty_like(cosines), np.empty_like(cosines), np.empty((len(which), 3))
    evaluate(programs.arrays, which, cosines, False, values, slopes, faults)
    return (cosines, values, slopes), faults[:, 0] < 0


def _rows(curves: Curves, which: NDArray[np.bool_]) -> Curves:
    cosines, values, slopes = curves
    return cosines[which], values[which], slopes[which]
