"""Batches of similar identities."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from fastreid_ext.data.samplers import BatchStream, SamplerError, SimilarIdentitySampler, StagedSampler, TrainingSampler

IDENTITIES, P, K = 12, 4, 2


def sampler(identities: int = IDENTITIES, **options: int) -> SimilarIdentitySampler:
    """Six images of each identity by three cameras; labels are not numbered from 0."""
    pids = [10 * pid for pid in range(identities) for _ in range(6)]
    camids = [shot % 3 for _ in range(identities) for shot in range(6)]
    return SimilarIdentitySampler(pids, camids, **({"batch_size": P * K, "num_instances": K} | options))


def ring(identities: int = IDENTITIES, number: int = 2 * (P - 1)) -> np.ndarray:
    """Neighbours of identities that stand in a circle."""
    steps = [step for distance in range(1, identities) for step in (distance, -distance)][:number]
    return (np.arange(identities)[:, None] + steps) % identities


def members(batches: np.ndarray, of: SimilarIdentitySampler) -> np.ndarray:
    """Identities of each batch, the one it grew around first."""
    groups = of.pids[batches].reshape(len(batches), -1, K)
    assert (groups == groups[..., :1]).all()
    return groups[..., 0] // 10


def test_others_are_among_the_nearest_of_the_first() -> None:
    own = sampler()
    own.use(ring())
    for epoch in range(5):
        for first, *others in members(own.epoch(epoch), own).tolist():
            assert len(set(others)) == P - 1 and set(others) <= set(ring()[first].tolist())


def test_all_neighbours_are_drawn_alike() -> None:
    own = sampler()
    own.use(ring())
    drawn = Counter(
        (other - batch[0]) % IDENTITIES
        for epoch in range(100)
        for batch in members(own.epoch(epoch), own).tolist()
        for other in batch[1:]
    )
    assert set(drawn) == {1, 2, 3, 9, 10, 11}
    # 900 batches with 3 of 6: 450 each, give or take a standard deviation of 15.
    assert all(abs(count - 450) < 75 for count in drawn.values())


def test_all_identities_take_turns() -> None:
    own = sampler(batch_size=2, num_instances=1)
    own.use(ring(number=2))
    batches = own.epoch(0)
    assert len(batches) == 36
    for start in range(0, 36, IDENTITIES):
        assert sorted(own.pids[batches[start : start + IDENTITIES, 0]] // 10) == list(range(IDENTITIES))


@pytest.mark.parametrize("known", [True, False])
def test_no_identity_comes_twice_in_a_batch(known: bool) -> None:
    own = sampler()
    own.use(ring() if known else None)
    for epoch in range(20):
        assert all(len(set(batch)) == P for batch in members(own.epoch(epoch), own).tolist())


def test_without_neighbours_others_are_drawn_from_all() -> None:
    own = sampler()
    pairs = {(b[0], other) for epoch in range(60) for b in members(own.epoch(epoch), own).tolist() for other in b[1:]}
    assert len(pairs) == IDENTITIES * (IDENTITIES - 1)


def test_the_unknown_have_others_at_random() -> None:
    own, similar = sampler(), ring()
    similar[5] = -1
    own.use(similar)
    batches = [batch for epoch in range(60) for batch in members(own.epoch(epoch), own).tolist()]
    assert {other for first, *others in batches if first == 5 for other in others} == set(range(IDENTITIES)) - {5}
    assert all(set(others) <= set(ring()[first].tolist()) for first, *others in batches if first != 5)


def test_images_are_from_as_many_cameras_as_there_are() -> None:
    own = sampler(num_instances=4, batch_size=16)
    own.use(ring())
    cameras = own.camids[own.epoch(0)].reshape(-1, 4)
    assert all(len(set(group)) == 3 for group in cameras.tolist())


def test_an_epoch_is_a_function_of_seed_epoch_and_neighbours() -> None:
    one, other = sampler(seed=3), sampler(seed=3)
    one.use(ring()[:, ::-1])
    one.epoch(4)
    assert (one.epoch(4) != other.epoch(4)).any()
    for own in (one, other):
        own.use(ring())
    np.testing.assert_array_equal(one.epoch(4), other.epoch(4))
    assert (one.epoch(5) != one.epoch(4)).any()


def test_two_of_two_and_one_of_one() -> None:
    pair = sampler(2, batch_size=4)
    assert pair.num_similar == 1
    pair.use(np.array([[1], [0]]))
    assert all(set(batch) == {0, 1} for batch in members(pair.epoch(0), pair).tolist())
    alone = sampler(1, batch_size=2)
    alone.use(np.empty((1, 0), dtype=np.int64))
    assert alone.num_similar == 0 and (alone.pids[alone.epoch(0)] == 0).all()


def test_rows_that_do_not_fit() -> None:
    own = sampler()
    for similar, size in ((ring()[:-1], "11 x 6"), (ring()[:, :2], "12 x 2")):
        with pytest.raises(ValueError, match=f"a batch of 4 of 12 identities .* not {size}"):
            own.use(similar)


def test_too_few_identities_say_what_to_change() -> None:
    with pytest.raises(SamplerError, match=r"SimilarIdentitySampler needs 4 identities.*lower IMS_PER_BATCH"):
        sampler(3)


def test_ranks_have_parts_of_one_batch() -> None:
    own = sampler()
    own.use(ring())
    streams = [iter(BatchStream(own, rank=rank, world_size=2)) for rank in range(2)]
    for batch in own.epoch(0).tolist():
        assert [index for stream in streams for index in next(stream).indices] == batch


def test_behind_a_first_stage() -> None:
    own = sampler()
    first = TrainingSampler(own.pids.tolist(), own.camids.tolist(), batch_size=P * K, num_instances=K)
    staged = StagedSampler(first, own, 2)
    own.use(ring())
    np.testing.assert_array_equal(staged.epoch(2), own.epoch(2))
