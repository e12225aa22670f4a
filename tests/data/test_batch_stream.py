"""How processes, accumulation passes and a data loader share a sampler's batches."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset

from fastreid_ext.data.samplers import BatchSampler, BatchStream, NaiveIdentitySampler, SamplerError, TrainingSampler

Key = tuple[int, int]


def keys(stream: BatchStream, lists: int) -> list[list[Key]]:
    return list(itertools.islice(stream, lists))


@pytest.fixture
def sampler() -> BatchSampler:
    """Two batches of 32 an epoch."""
    return NaiveIdentitySampler(np.repeat(np.arange(16), 5), np.zeros(80), batch_size=32, num_instances=2, seed=5)


def test_stream_holds_the_epochs_one_after_another(sampler: BatchSampler) -> None:
    found = [[index for index, _ in batch] for batch in keys(BatchStream(sampler), 5)]
    expected = np.concatenate([sampler.epoch(epoch) for epoch in range(3)])[:5]
    assert found == expected.tolist()


def test_draw_seeds_have_63_bits_and_differ_in_the_lower_half(sampler: BatchSampler) -> None:
    seeds = [seed for batch in keys(BatchStream(sampler), 8) for _, seed in batch]
    assert all(0 <= seed < 2**63 for seed in seeds)
    # Some generators take 32 bits only.
    assert len({seed % 2**32 for seed in seeds}) == len(seeds)


@pytest.mark.parametrize("world_size", [2, 4])
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_ranks_and_passes_concatenate_to_the_batch_of_one(
    sampler: BatchSampler, world_size: int, accumulation_steps: int
) -> None:
    parts = [
        keys(BatchStream(sampler, rank=rank, world_size=world_size, accumulation_steps=accumulation_steps), 8)
        for rank in range(world_size)
    ]
    for step, batch in enumerate(keys(BatchStream(sampler), 8 // accumulation_steps)):
        passes = range(step * accumulation_steps, (step + 1) * accumulation_steps)
        assert [key for number in passes for rank in parts for key in rank[number]] == batch


def test_each_rank_holds_whole_identities(sampler: BatchSampler) -> None:
    for rank in range(4):
        for part in keys(BatchStream(sampler, rank=rank, world_size=4), 3):
            pids = sampler.pids[[index for index, _ in part]].reshape(-1, 2)
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
    whole = keys(BatchStream(sampler, accumulation_steps=accumulation_steps), 8 * accumulation_steps)
    resumed = BatchStream(sampler, accumulation_steps=accumulation_steps)
    saved = resumed.state_dict() | {"iteration": stop}
    resumed.load_state_dict(saved)
    assert resumed.state_dict() == saved
    constructed = BatchStream(sampler, accumulation_steps=accumulation_steps, start_iteration=stop)
    for stream in (resumed, constructed):
        assert keys(stream, (8 - stop) * accumulation_steps) == whole[stop * accumulation_steps :]


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


class Echo(Dataset[Key]):
    def __getitem__(self, key: Key) -> Key:
        return key


@pytest.mark.parametrize("workers", [0, 2])
def test_stream_is_a_batch_sampler_of_a_data_loader(sampler: BatchSampler, workers: int) -> None:
    loader = DataLoader(Echo(), batch_sampler=BatchStream(sampler), num_workers=workers, collate_fn=list)
    assert list(itertools.islice(loader, 5)) == keys(BatchStream(sampler), 5)
