"""Batches with a share of each data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fastreid_ext.config import get_cfg
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import BatchStream, SamplerError, SetReWeightSampler, StagedSampler, build_sampler

P, K = 8, 2
SIZES = (40, 10, 10)
"""Identities of three data sets, numbered one after the other, of three images each by two cameras."""


def sampler(weights: Sequence[float], sizes: Sequence[int] = SIZES, **options: Any) -> SetReWeightSampler:
    sets = [number for number, size in enumerate(sizes) for _ in range(3 * size)]
    pids = [pid for pid in range(sum(sizes)) for _ in range(3)]
    camids = [2 * number + index % 2 for index, number in enumerate(sets)]
    return SetReWeightSampler(
        pids, camids, sets=sets, weights=weights, **({"batch_size": P * K, "num_instances": K} | options)
    )


def sets_of(own: SetReWeightSampler, epoch: int, sizes: Sequence[int] = SIZES) -> list[Counter[int]]:
    """How many identities of each set are in each batch; all of them whole, and none twice."""
    batches = own.pids[own.epoch(epoch)].reshape(-1, own.num_identities, own.num_instances)
    assert (batches == batches[..., :1]).all()
    identities = batches[..., 0]
    assert all(len(set(batch)) == own.num_identities for batch in identities.tolist())
    bounds = np.cumsum(sizes)
    return [Counter(batch.tolist()) for batch in np.searchsorted(bounds, identities, side="right")]


@pytest.mark.parametrize("weights", [[2, 1, 1], [1.0, 0.5, 0.5], [0.2, 0.1, 0.1], [200, 100, 100]])
def test_whole_shares_are_those_of_every_batch(weights: list[float]) -> None:
    own = sampler(weights)
    counts = [batch for epoch in range(20) for batch in sets_of(own, epoch)]
    assert len(counts) == 20 * (3 * 60 // 16)
    assert all(batch == {0: 4, 1: 2, 2: 2} for batch in counts)


def test_other_shares_are_those_of_the_average() -> None:
    own = sampler([1, 1, 1])
    counts = [batch for epoch in range(40) for batch in sets_of(own, epoch)]
    assert {number for batch in counts for number in batch.values()} == {2, 3}
    # 440 batches of 8/3 identities of each set: a mean's standard deviation is about 0.022.
    for number in range(3):
        assert abs(np.mean([batch[number] for batch in counts]) - P / 3) < 0.1


def test_a_weight_of_zero_leaves_a_set_out() -> None:
    assert all(batch == {0: 6, 2: 2} for batch in sets_of(sampler([3, 0, 1]), 0))
    assert all(batch == {1: 4, 2: 4} for batch in sets_of(sampler([0, 1, 1]), 0))
    assert all(batch == {0: 8} for batch in sets_of(sampler([1, 0, 0]), 0))


def test_identities_of_a_set_come_as_often_as_they_have_images() -> None:
    pids, sets = [0] * 2 + [1] * 6 + [2] * 4 + [3] * 4, [0] * 8 + [1] * 8
    own = SetReWeightSampler(pids, [0] * 16, sets=sets, weights=[1, 1], batch_size=4, num_instances=2)
    drawn = Counter(own.pids[[own.epoch(epoch)[:, ::2] for epoch in range(250)]].ravel().tolist())
    # 1000 batches with an identity of each set: 250 of 0, give or take 14, and 500 of 2, give or take 16.
    assert abs(drawn[0] - 250) < 70 and abs(drawn[2] - 500) < 80
    assert drawn[0] + drawn[1] == drawn[2] + drawn[3] == 1000


def test_images_are_from_as_many_cameras_as_there_are() -> None:
    own = sampler([2, 1, 1])
    cameras = own.camids[own.epoch(0)].reshape(-1, K)
    assert (cameras[:, 0] != cameras[:, 1]).all()


def test_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    one, other = sampler([1, 1, 1], seed=3), sampler([1, 1, 1], seed=3)
    later = one.epoch(4)
    one.epoch(0)
    np.testing.assert_array_equal(one.epoch(4), later)
    np.testing.assert_array_equal(other.epoch(4), later)
    assert (one.epoch(5) != later).any() and (sampler([1, 1, 1], seed=4).epoch(4) != later).any()


def test_processes_have_parts_of_one_batch_of_all_sets() -> None:
    own = sampler([1, 1, 1])
    streams = [iter(BatchStream(own, rank=rank, world_size=2)) for rank in range(2)]
    seen = set()
    for batch in own.epoch(0).tolist():
        parts = [next(stream).indices for stream in streams]
        assert [index for part in parts for index in part] == batch
        seen |= {(rank, own.camids[index] // 2) for rank, part in enumerate(parts) for index in part}
    assert len(seen) == 6


@pytest.mark.parametrize(
    "weights", [[], [1], [1, 1], [1, -1, 1], [0, 0, 0], [1, float("nan"), 1], [1, float("inf"), 1]]
)
def test_weights_that_are_none(weights: list[float]) -> None:
    with pytest.raises(SamplerError, match=r"DATALOADER.SET_WEIGHT .* for 3 data sets: it takes a weight for each"):
        sampler(weights)


def test_a_set_that_is_too_small_for_its_share() -> None:
    assert all(batch == {0: 4, 1: 4} for batch in sets_of(sampler([1, 1], (20, 4)), 0, (20, 4)))
    message = r"data set 1 .* has 3 identities.*SET_WEIGHT \[1, 1\] asks for 4 of the 8 .*lower its weight"
    with pytest.raises(SamplerError, match=message):
        sampler([1, 1], (20, 3))
    # A share of 3.2 is sometimes 4.
    with pytest.raises(SamplerError, match=r"asks for 3\.2 of the 8"):
        sampler([3, 2], (20, 3))
    with pytest.raises(SamplerError, match=r"data set 2 .* has 0 identities"):
        sampler([1, 1, 1], (20, 20))


def test_built_from_a_config() -> None:
    cfg = get_cfg()
    cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATALOADER.NUM_INSTANCE = "SetReWeightSampler", K
    cfg.DATALOADER.SET_WEIGHT, cfg.SOLVER.IMS_PER_BATCH = [1, 3], P * K
    samples = [Sample(f"{pid}_{shot}.jpg", pid, pid // 10) for pid in range(30) for shot in range(3)]
    own = build_sampler(cfg, samples, camera_sets=(0, 1, 1))
    assert isinstance(own, SetReWeightSampler)
    assert all(batch == {0: 2, 1: 6} for batch in sets_of(own, 0, (10, 20)))
    cfg.SOLVER.FIRST_STAGE.EPOCHS, cfg.SOLVER.FIRST_STAGE.SAMPLER_TRAIN = 2, "TrainingSampler"
    staged = build_sampler(cfg, samples, camera_sets=(0, 1, 1))
    assert isinstance(staged, StagedSampler)
    np.testing.assert_array_equal(staged.epoch(2), own.epoch(2))
