"""Which images make a batch, over random layouts of identities and cameras."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastreid_ext.config import get_cfg
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import (
    SAMPLERS,
    BalancedIdentitySampler,
    BatchSampler,
    NaiveIdentitySampler,
    SamplerError,
    SimilarIdentitySampler,
    TrainingSampler,
    build_sampler,
)
from fastreid_ext.registry import RegistryError

IDENTITY_SAMPLERS = [NaiveIdentitySampler, BalancedIdentitySampler, SimilarIdentitySampler]
ALL_SAMPLERS = [*IDENTITY_SAMPLERS, TrainingSampler]


def repeated(images_per_identity: Sequence[int], cameras: int = 2) -> tuple[list[int], list[int]]:
    """Identities and cameras of as many images of each identity as told, cameras in turn."""
    pids = [pid for pid, count in enumerate(images_per_identity) for _ in range(count)]
    camids = [shot % cameras for count in images_per_identity for shot in range(count)]
    return pids, camids


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[int], list[int], int, int]:
    """Identities and cameras of shuffled images, P, K; some identities have a single image."""
    num_identities, num_instances = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    counts = draw(st.lists(st.integers(1, 9), min_size=num_identities, max_size=num_identities + 4))
    labels = draw(st.lists(st.integers(-1, 5000), min_size=len(counts), max_size=len(counts), unique=True))
    pids = draw(st.permutations([label for label, count in zip(labels, counts, strict=True) for _ in range(count)]))
    camids = draw(st.lists(st.integers(-2, 3), min_size=len(pids), max_size=len(pids)))
    return pids, camids, num_identities, num_instances


@pytest.mark.parametrize("kind", IDENTITY_SAMPLERS)
@given(layout=layouts(), seed=st.integers(0, 100), epoch=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_batches_hold_whole_identities(
    kind: type[BatchSampler], layout: tuple[list[int], list[int], int, int], seed: int, epoch: int
) -> None:
    pids, camids, num_identities, num_instances = layout
    sampler = kind(pids, camids, batch_size=num_identities * num_instances, num_instances=num_instances, seed=seed)
    batches = sampler.epoch(epoch)
    assert batches.shape == (max(1, len(pids) // sampler.batch_size), sampler.batch_size)
    for batch in batches.reshape(-1, num_identities, num_instances).tolist():
        assert len({pids[group[0]] for group in batch}) == num_identities
        for group in batch:
            assert len({pids[index] for index in group}) == 1
            assert len(set(group)) == min(num_instances, pids.count(pids[group[0]]))


@given(layout=layouts(), epoch=st.integers(0, 100))
@settings(max_examples=60, deadline=None)
def test_balanced_groups_have_as_many_cameras_as_there_are(
    layout: tuple[list[int], list[int], int, int], epoch: int
) -> None:
    pids, camids, num_identities, num_instances = layout
    sampler = BalancedIdentitySampler(
        pids, camids, batch_size=num_identities * num_instances, num_instances=num_instances
    )
    for group in sampler.epoch(epoch).reshape(-1, num_instances).tolist():
        there = {camid for pid, camid in zip(pids, camids, strict=True) if pid == pids[group[0]]}
        assert len({camids[index] for index in group}) == min(num_instances, len(there))


def test_balanced_takes_cameras_in_turn() -> None:
    sampler = BalancedIdentitySampler([0] * 12, [0] * 9 + [1] * 3, batch_size=4, num_instances=4)
    for group in sampler.epoch(0):
        assert sorted(sampler.camids[group]) == [0, 0, 1, 1]


def test_balanced_draws_cameras_and_images_at_random() -> None:
    sampler = BalancedIdentitySampler([0] * 12, [0, 1, 2, 3] * 3, batch_size=2, num_instances=2)
    seen = {tuple(sorted(sampler.camids[group])) for epoch in range(20) for group in sampler.epoch(epoch)}
    assert seen == set(itertools.combinations(range(4), 2))
    assert {index for epoch in range(20) for index in sampler.epoch(epoch).flat} == set(range(12))


def test_balanced_visits_every_identity_before_one_comes_again() -> None:
    sampler = BalancedIdentitySampler(*repeated([4] * 8), batch_size=8, num_instances=4)
    identities = sampler.pids[sampler.epoch(0)].reshape(-1, 4)[:8, 0]
    assert sorted(identities) == list(range(8))


def test_naive_visits_every_image_before_one_comes_again() -> None:
    sampler = NaiveIdentitySampler(*repeated([8] * 4), batch_size=16, num_instances=4)
    assert sorted(sampler.epoch(0).flat) == list(range(32))


def test_naive_repeats_no_image_of_a_large_enough_identity() -> None:
    sampler = NaiveIdentitySampler([0] * 6, [0] * 6, batch_size=4, num_instances=4)
    for epoch in range(10):
        assert len(set(sampler.epoch(epoch)[0])) == 4


def test_training_sampler_covers_everything() -> None:
    sampler = TrainingSampler(*repeated([3] * 8), batch_size=6)
    assert sorted(sampler.epoch(0).flat) == list(range(24))
    assert sorted(sampler.epoch(1).flat) == list(range(24))


def test_training_sampler_drops_other_images_each_epoch() -> None:
    sampler = TrainingSampler(*repeated([1] * 10), batch_size=4)
    epochs = [sampler.epoch(epoch) for epoch in range(20)]
    assert all(len(set(epoch.flat)) == 8 for epoch in epochs)
    assert {index for epoch in epochs for index in epoch.flat} == set(range(10))


@pytest.mark.parametrize("kind", ALL_SAMPLERS)
def test_epoch_is_a_function_of_seed_and_epoch(kind: type[BatchSampler]) -> None:
    pids, camids = repeated([5] * 8)
    first, second = (kind(pids, camids, batch_size=8, num_instances=4, seed=3) for _ in range(2))
    later = first.epoch(7)
    first.epoch(0)
    np.testing.assert_array_equal(first.epoch(7), later)
    np.testing.assert_array_equal(second.epoch(7), later)
    assert (first.epoch(8) != later).any()
    other = kind(pids, camids, batch_size=8, num_instances=4, seed=4)
    assert (other.epoch(7) != later).any()


@pytest.mark.parametrize("kind", ALL_SAMPLERS)
def test_epochs_of_one_seed_are_not_those_of_another(kind: type[BatchSampler]) -> None:
    pids, camids = repeated([5] * 8)
    samplers = [kind(pids, camids, batch_size=8, num_instances=4, seed=seed) for seed in range(4)]
    epochs = {sampler.epoch(epoch).tobytes() for sampler in samplers for epoch in range(4)}
    assert len(epochs) == 16


@pytest.mark.parametrize("kind", ALL_SAMPLERS)
def test_fewer_images_than_a_batch(kind: type[BatchSampler]) -> None:
    sampler = kind(*repeated([1, 1, 1]), batch_size=12, num_instances=4)
    assert sampler.batches_per_epoch == 1
    batch = sampler.epoch(0)[0]
    assert batch.shape == (12,)
    assert set(batch) == {0, 1, 2}


@pytest.mark.parametrize("kind", ALL_SAMPLERS)
def test_one_image(kind: type[BatchSampler]) -> None:
    assert kind([7], [3], batch_size=4, num_instances=4).epoch(0).tolist() == [[0] * 4]


@pytest.mark.parametrize("kind", ALL_SAMPLERS)
def test_large_set(kind: type[BatchSampler]) -> None:
    rng = np.random.default_rng(0)
    pids, camids = rng.integers(0, 1000, 30_000), rng.integers(0, 15, 30_000)
    batches = kind(pids.tolist(), camids.tolist(), batch_size=64, num_instances=4).epoch(0)
    assert batches.shape == (468, 64)


@pytest.mark.parametrize("kind", ALL_SAMPLERS)
def test_no_images(kind: type[BatchSampler]) -> None:
    with pytest.raises(SamplerError, match="no training images"):
        kind([], [], batch_size=8)


@pytest.mark.parametrize("kind", IDENTITY_SAMPLERS)
def test_too_few_identities(kind: type[BatchSampler]) -> None:
    with pytest.raises(SamplerError) as error:
        kind(*repeated([10] * 3), batch_size=16, num_instances=4)
    for part in (kind.__name__, "needs 4", "have 3", "IMS_PER_BATCH 16", "NUM_INSTANCE 4", "TrainingSampler"):
        assert part in str(error.value)


@pytest.mark.parametrize("kind", IDENTITY_SAMPLERS)
@pytest.mark.parametrize(("batch_size", "num_instances"), [(10, 4), (3, 4)])
def test_batch_that_cuts_identities(kind: type[BatchSampler], batch_size: int, num_instances: int) -> None:
    with pytest.raises(SamplerError) as error:
        kind(*repeated([4] * 8), batch_size=batch_size, num_instances=num_instances)
    for part in (str(batch_size), "SOLVER.IMS_PER_BATCH", str(num_instances), "DATALOADER.NUM_INSTANCE"):
        assert part in str(error.value)


@pytest.mark.parametrize("kind", ALL_SAMPLERS)
@pytest.mark.parametrize(("batch_size", "num_instances"), [(0, 4), (8, 0), (-8, 4), (8, -4)])
def test_sizes_that_are_none(kind: type[BatchSampler], batch_size: int, num_instances: int) -> None:
    with pytest.raises(SamplerError, match=rf"IMS_PER_BATCH.*{batch_size}.*NUM_INSTANCE.*{num_instances}"):
        kind(*repeated([4] * 8), batch_size=batch_size, num_instances=num_instances)


def test_sampler_by_name() -> None:
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.NUM_INSTANCE = "RandomIdentitySampler", 2
    cfg.SOLVER.IMS_PER_BATCH, cfg.SEED = 6, 5
    samples = [Sample(f"{pid}.jpg", pid, 1) for pid in (0, 0, 1, 1, 2, 2)]
    sampler = build_sampler(cfg, samples)
    assert type(sampler) is NaiveIdentitySampler
    assert (sampler.batch_size, sampler.num_instances, sampler.seed) == (6, 2, 5)
    assert sampler.pids.tolist() == [0, 0, 1, 1, 2, 2]
    names = ["Balanced", "Naive", "Similar"]
    assert SAMPLERS.names() == sorted(
        ["ImbalancedDatasetSampler", "SetReWeightSampler", "TrainingSampler"]
        + [f"{name}IdentitySampler" for name in names]
    )


def test_unknown_sampler_names_close_matches() -> None:
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN = "NaivIdentitySampler"
    with pytest.raises(RegistryError, match="Did you mean NaiveIdentitySampler"):
        build_sampler(cfg, [Sample("a.jpg", 0, 0)])
