"""A sampler's batches without end, as one process sees them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fastreid_ext.data.samplers.base import BatchSampler, SamplerError

__all__ = ["BatchPart", "BatchStream"]

# Keeps what augmentation draws in a step apart from what the sampler draws in the epoch of the same number.
_AUGMENTATION = 1


class BatchPart(NamedTuple):
    """The images of a forward pass of this process.

    Attributes:
        indices: of the images.
        iteration: the step whose batch they are a part of.
        start: place of the first of them in the whole batch.
    """

    indices: list[int]
    iteration: int
    start: int


class BatchStream:
    """The sampler's batches without end, a part of a batch a forward pass of this process.

    A step's batch is split into accumulation passes and each pass over the ranks in contiguous parts, so that
    identities stay whole. What is random about a step follows from seed and iteration alone, and is drawn for the whole
    batch: what augmentation makes of an image depends neither on the number of processes nor on where a run resumed.

    Args:
        sampler: gives the batches of all processes.
        rank, world_size: of this process.
        accumulation_steps: forward passes a step.
        start_iteration: the first step.

    Raises:
        SamplerError: a batch does not divide into equal parts that hold whole identities.
    """

    def __init__(
        self,
        sampler: BatchSampler,
        *,
        rank: int = 0,
        world_size: int = 1,
        accumulation_steps: int = 1,
        start_iteration: int = 0,
    ) -> None:
        self.sampler, self.rank, self.world_size = sampler, rank, world_size
        self.accumulation_steps, self.start_iteration = accumulation_steps, start_iteration
        parts = world_size * accumulation_steps
        share = sampler.batch_size // parts
        if sampler.batch_size % parts or share % sampler.group_size:
            raise SamplerError(
                f"a batch of {sampler.batch_size} images (SOLVER.IMS_PER_BATCH) does not divide into {world_size} "
                f"processes x {accumulation_steps} passes of equally many images, in groups of {sampler.group_size}"
            )
        self.share = share

    def __iter__(self) -> Iterator[BatchPart]:
        iteration = self.start_iteration
        while True:
            epoch, start = divmod(iteration, self.sampler.batches_per_epoch)
            for batch in self.sampler.epoch(epoch)[start:].tolist():
                for part in range(self.accumulation_steps):
                    first = (part * self.world_size + self.rank) * self.share
                    yield BatchPart(batch[first : first + self.share], iteration, first)
                iteration += 1

    def generator(self, iteration: int) -> np.random.Generator:
        """The generator of what is drawn for the whole batch of a step."""
        return np.random.default_rng([self.sampler.seed, iteration, _AUGMENTATION])

    def state_dict(self) -> dict[str, Any]:
        """What the place in the stream depends on; the trainer, who knows what was used, sets `iteration`."""
        return {
            "iteration": self.start_iteration,
            "seed": self.sampler.seed,
            "batch_size": self.sampler.batch_size,
            "batches_per_epoch": self.sampler.batches_per_epoch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes to a place in the stream; call it before iterating.

        Raises:
            SamplerError: the stream is another one, so that the place means other images.
        """
        own = self.state_dict()
        changed = [f"{key} {state[key]} -> {own[key]}" for key in own if key != "iteration" and state[key] != own[key]]
        if changed:
            raise SamplerError(f"the batches of the saved run cannot be continued: {', '.join(changed)}")
        self.start_iteration = state["iteration"]
