"""How processes and accumulation passes share a sampler's batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fastreid_ext.data.samplers import (
    BatchPart,
    BatchSampler,
    BatchStream,
    NaiveIdentitySampler,
    SamplerError,
    TrainingSampler,
)


def parts(stream: BatchStream, count: int) -> list[BatchPart]:
    return list(itertools.islice(stream, count))


@pytest.fixture
def sampler() -> BatchSampler:
    """Two batches of 32 an epoch."""
    return NaiveIdentitySampler(np.repeat(np.arange(16), 5), np.zeros(80), batch_size=32, num_instances=2, seed=5)


def test_stream_holds_the_epochs_one_after_another(sampler: BatchSampler) -> None:
    found = parts(BatchStream(sampler), 5)
    expected = np.concatenate([sampler.epoch(epoch) for epoch in range(3)])[:5]
    assert [part.indices for part in found] == expected.tolist()
    assert [(part.iteration, part.start) for part in found] == [(step, 0) for step in range(5)]


def test_each_step_draws_from_a_generator_of_its_own(sampler: BatchSampler) -> None:
    stream = BatchStream(sampler)
    drawn = [stream.generator(step).random(4).tolist() for step in range(8)]
    assert len({tuple(each) for each in drawn}) == 8
    assert stream.generator(3).random(4).tolist() == drawn[3]
    # What the sampler draws in epoch 3 must not repeat in what augmentation draws in step 3.
    assert np.random.default_rng([sampler.seed, 3]).random(4).tolist() != drawn[3]


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_ranks_and_passes_concatenate_to_the_batch_of_one(
    sampler: BatchSampler, world_size: int, accumulation_steps: int
) -> None:
    ranks = [
        parts(BatchStream(sampler, rank=rank, world_size=world_size, accumulation_steps=accumulation_steps), 8)
        for rank in range(world_size)
    ]
    for step, batch in enumerate(parts(BatchStream(sampler), 8 // accumulation_steps)):
        passes = range(step * accumulation_steps, (step + 1) * accumulation_steps)
        pieces = [rank[number] for number in passes for rank in ranks]
        assert [index for piece in pieces for index in piece.indices] == batch.indices
        assert all(batch.indices[piece.start :][: len(piece.indices)] == piece.indices for piece in pieces)
        assert {piece.iteration for piece in pieces} == {step}


def test_each_rank_holds_whole_identities(sampler: BatchSampler) -> None:
    for rank in range(4):
        for part in parts(BatchStream(sampler, rank=rank, world_size=4), 3):
            pids = sampler.pids[part.indices].reshape(-1, 2)
            assert (pids[:, 0] == pids[:, 1]).all()


@pytest.mark.parametrize(("world_size", "accumulation_steps"), [(3, 1), (1, 5), (32, 1), (8, 4)])
def test_uneven_or_broken_shares_are_an_error(sampler: BatchSampler, world_size: int, accumulation_steps: int) -> None:
    with pytest.raises(SamplerError, match=rf"32 images.*{world_size} processes x {accumulation_steps} passes"):
        BatchStream(sampler, world_size=world_size, accumulation_steps=accumulation_steps)


def test_without_identities_to_keep_whole_any_equal_share_will_do() -> None:
    identities = NaiveIdentitySampler(np.repeat(np.arange(8), 4), np.zeros(32), batch_size=24, num_instances=4)
    with pytest.raises(SamplerError, match="in groups of 4"):
        BatchStream(identities, world_size=4)
    BatchStream(TrainingSampler(list(range(32)), [0] * 32, batch_size=24), world_size=4)


@pytest.mark.parametrize("accumulation_steps", [1, 2])
@pytest.mark.parametrize("stop", [0, 1, 2, 5])
def test_stream_goes_on_at_a_step(sampler: BatchSampler, stop: int, accumulation_steps: int) -> None:
    whole = parts(BatchStream(sampler, accumulation_steps=accumulation_steps), 8 * accumulation_steps)
    resumed = BatchStream(sampler, accumulation_steps=accumulation_steps)
    saved = resumed.state_dict() | {"iteration": stop}
    resumed.load_state_dict(saved)
    assert resumed.state_dict() == saved
    constructed = BatchStream(sampler, accumulation_steps=accumulation_steps, start_iteration=stop)
    for stream in (resumed, constructed):
        assert parts(stream, (8 - stop) * accumulation_steps) == whole[stop * accumulation_steps :]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"seed": 1}, "seed 0 -> 1"), ({"batch_size": 4}, "batch_size 8 -> 4.*batches_per_epoch 3 -> 6")],
)
def test_state_of_another_stream_is_refused(change: dict[str, int], message: str) -> None:
    pids, camids = np.repeat(np.arange(4), 6), np.zeros(24)
    options = {"batch_size": 8, "num_instances": 4, "seed": 0}
    saved = BatchStream(NaiveIdentitySampler(pids, camids, **options)).state_dict()
    other = BatchStream(NaiveIdentitySampler(pids, camids, **options | change))
    with pytest.raises(SamplerError, match=message):
        other.load_state_dict(saved)
