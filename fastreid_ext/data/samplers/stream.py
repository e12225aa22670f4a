"""A sampler's batches without end, as one process sees them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from fastreid_ext.data.samplers.base import BatchSampler, SamplerError

__all__ = ["BatchStream"]


class BatchStream:
    """Endless lists of keys `(index, draw seed)`, one list a forward pass of this process.

    A step's batch is split into accumulation passes and each pass over the ranks in contiguous parts, so that
    identities stay whole. The draw seed of an image follows from seed, iteration and place in the whole batch alone:
    what augmentation makes of it depends neither on the number of processes nor on that of decoding workers.

    It serves as `batch_sampler` of a `torch.utils.data.DataLoader`.

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

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        iteration = self.start_iteration
        while True:
            epoch, start = divmod(iteration, self.sampler.batches_per_epoch)
            for batch in self.sampler.epoch(epoch)[start:].tolist():
                for part in range(self.accumulation_steps):
                    first = (part * self.world_size + self.rank) * self.share
                    yield [
                        (batch[place], _draw_seed(self.sampler.seed, iteration, place))
                        for place in range(first, first + self.share)
                    ]
                iteration += 1

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


def _draw_seed(seed: int, iteration: int, place: int) -> int:
    digest = hashlib.blake2b(f"{seed},{iteration},{place}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
