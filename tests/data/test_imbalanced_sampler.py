"""Rare identities as often as frequent ones."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fastreid_ext.config import get_cfg, load_config
from fastreid_ext.data.sample import Sample
from fastreid_ext.data.samplers import ImbalancedDatasetSampler, SamplerError, build_sampler

PIDS = [5] * 30 + [9] * 9 + [2]


def sampler(**options: int) -> ImbalancedDatasetSampler:
    return ImbalancedDatasetSampler(PIDS, [0] * len(PIDS), **({"batch_size": 8} | options))


def test_all_identities_and_all_images_of_each_are_drawn_alike() -> None:
    own = sampler()
    drawn = np.concatenate([own.epoch(epoch).ravel() for epoch in range(150)])
    identities = Counter(own.pids[drawn].tolist())
    # 6000 places for 3 identities: 2000 each, give or take 37.
    assert set(identities) == {2, 5, 9} and all(abs(count - 2000) < 180 for count in identities.values())
    images = Counter(drawn.tolist())
    # A ninth of that: give or take 15.
    assert all(abs(images[index] - 2000 / 9) < 75 for index in range(30, 39))
    assert set(images) == set(range(40))


def test_an_epoch_is_a_function_of_seed_and_epoch() -> None:
    one, other = sampler(seed=3), sampler(seed=3)
    later = one.epoch(4)
    assert later.shape == (5, 8)
    one.epoch(0)
    np.testing.assert_array_equal(one.epoch(4), later)
    np.testing.assert_array_equal(other.epoch(4), later)
    assert (one.epoch(5) != later).any() and (sampler(seed=4).epoch(4) != later).any()


def test_fewer_images_than_a_batch() -> None:
    own = ImbalancedDatasetSampler([0, 1], [0, 0], batch_size=7)
    assert own.epoch(0).shape == (1, 7)
    with pytest.raises(SamplerError, match="no training images"):
        ImbalancedDatasetSampler([], [], batch_size=7)


def test_built_from_a_config_whose_batches_hold_no_whole_identities() -> None:
    options = ["DATALOADER.SAMPLER_TRAIN", "ImbalancedDatasetSampler", "SOLVER.IMS_PER_BATCH", 6]
    assert get_cfg().DATALOADER.NUM_INSTANCE == 4
    samples = [Sample(f"{index}.jpg", pid, 0) for index, pid in enumerate(PIDS)]
    own = build_sampler(load_config("", options), samples)
    assert isinstance(own, ImbalancedDatasetSampler) and own.group_size == 1
