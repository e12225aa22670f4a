"""The dictionary of negatives against a list of images, of which the oldest leave."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses import FakeTensorMode

from fastreid_ext.functional.keys import Keys
from fastreid_ext.modeling.losses import KeyedLoss, TripletLoss
from fastreid_ext.projects.moreid import HardDistanceElasticLoss, NegativeDictionary


@dataclass(frozen=True)
class Image:
    name: int
    pid: int
    batch: int


@dataclass
class SlowDictionary:
    """Images in the order in which they came."""

    size: int
    past_positives: bool
    images: deque[Image] = field(default_factory=deque)
    batches: int = 0

    def take(self, names: list[int], pids: list[int]) -> tuple[list[set[int]], list[set[int]]]:
        """Names of the positives and of the negatives of each image of a batch."""
        batch = [Image(name, pid, self.batches) for name, pid in zip(names, pids, strict=True)]
        self.images.extend(batch)
        while len(self.images) > self.size:
            self.images.popleft()
        self.batches += 1
        return [self._positives(image) for image in batch], [
            {other.name for other in self.images if other.pid != image.pid} for image in batch
        ]

    def _positives(self, image: Image) -> set[int]:
        return {
            other.name
            for other in self.images
            if other.pid == image.pid and other != image and (self.past_positives or other.batch == image.batch)
        }


class Stream:
    """Batches of images whose features begin with their names, 1, 2, ..."""

    def __init__(self, dim: int = 3, seed: int = 0) -> None:
        self.generator, self.dim, self.made = torch.Generator().manual_seed(seed), dim, 0

    def batch(self, rows: int, ids: int = 3) -> tuple[Tensor, Tensor]:
        features = torch.randn(rows, self.dim, generator=self.generator)
        features[:, 0] = torch.arange(self.made + 1, self.made + rows + 1)
        self.made += rows
        return features, torch.randint(ids, (rows,), generator=self.generator)


def names(features: Tensor) -> list[int]:
    return [int(name) for name in features[:, 0]]


def named(keys: Keys, mask: Tensor) -> list[set[int]]:
    sets = [names(keys.features[row]) for row in mask]
    assert all(len(set(row)) == len(row) for row in sets)
    return [set(row) for row in sets]


@settings(max_examples=300, deadline=None)
@given(
    size=st.integers(1, 12),
    batches=st.lists(st.integers(0, 12), max_size=10),
    ids=st.integers(1, 4),
    past_positives=st.booleans(),
    seed=st.integers(0, 2**30),
)
def test_equals_the_list(size: int, batches: list[int], ids: int, past_positives: bool, seed: int) -> None:
    dictionary = NegativeDictionary(size, 3, past_positives=past_positives)
    slow, stream = SlowDictionary(size, past_positives), Stream(seed=seed)
    given_features: dict[int, Tensor] = {}
    for rows in (min(rows, size) for rows in batches):
        features, pids = stream.batch(rows, ids)
        given_features |= dict(zip(names(features), features, strict=True))
        keys = dictionary(features, pids)
        expected = slow.take(names(features), pids.tolist())
        assert keys.positive.shape == keys.negative.shape == (rows, size) and keys.pids.shape == (size,)
        assert (named(keys, keys.positive), named(keys, keys.negative)) == expected
        assert_remembers(dictionary, slow, given_features)


def assert_remembers(dictionary: NegativeDictionary, slow: SlowDictionary, given_features: dict[int, Tensor]) -> None:
    assert (int(dictionary.filled), int(dictionary.num_batches)) == (len(slow.images), slow.batches)
    taken = dictionary.batches >= 0
    assert int(taken.sum()) == len(slow.images) and not dictionary.features[~taken].any()
    # From the pointer on, places are in the order in which they were taken.
    order = torch.arange(dictionary.size).roll(-int(dictionary.pointer))
    order = order[taken[order]]
    found = zip(names(dictionary.features[order]), dictionary.pids[order].tolist(), strict=True)
    assert [*found] == [(image.name, image.pid) for image in slow.images]
    assert dictionary.batches[order].tolist() == [image.batch for image in slow.images]
    for row in dictionary.features[order]:
        assert torch.equal(row, given_features[int(row[0])])


def test_masks_by_hand() -> None:
    for past_positives in (False, True):
        dictionary = NegativeDictionary(5, 1, past_positives=past_positives)
        first = dictionary(torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([7, 8, 7]))
        assert named(first, first.positive) == [{3}, set(), {1}]
        assert named(first, first.negative) == [{2}, {1, 3}, {2}]
        second = dictionary(torch.tensor([[4.0], [5.0], [6.0]]), torch.tensor([7, 7, 9]))
        # Image 1 has left.
        assert names(second.features) == [6, 2, 3, 4, 5]
        old = {3} if past_positives else set()
        assert named(second, second.positive) == [{5, *old}, {4, *old}, set()]
        assert named(second, second.negative) == [{2, 6}, {2, 6}, {2, 3, 4, 5}]


def test_places_without_an_image_are_no_keys_whatever_the_identity() -> None:
    dictionary = NegativeDictionary(6, 2, past_positives=True)
    keys = dictionary(torch.ones(3, 2), torch.tensor([-1, 0, -1]))
    assert keys.positive.sum(1).tolist() == [1, 0, 1] and keys.negative.sum(1).tolist() == [1, 2, 1]


@pytest.mark.parametrize("loss", [HardDistanceElasticLoss(), TripletLoss(), TripletLoss(hard_mining=False)], ids=repr)
@pytest.mark.parametrize("past_positives", [False, True])
def test_one_batch_is_the_loss_within_the_batch(loss: KeyedLoss, past_positives: bool) -> None:
    dictionary, stream = NegativeDictionary(12, 8, past_positives=past_positives), Stream(8)
    own = torch.eye(12, dtype=torch.bool)
    for _ in range(3):
        features, pids = stream.batch(12)
        features[:, 0].fill_(0)
        one, other = features.clone().requires_grad_(), features.clone().requires_grad_()
        found = loss.from_outputs({"features": one, "keys": dictionary(one, pids)}, pids)
        expected = loss(other, features, pids, pids, positive_mask=~own)
        assert torch.equal(found, expected) and found > 0
        assert torch.equal(found, loss(features, pids))
        found.backward()
        expected.backward()
        assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad) and one.grad.any()


def test_batches_that_do_not_fit_are_refused() -> None:
    dictionary = NegativeDictionary(4, 3)
    before = copy.deepcopy(dictionary.state_dict())
    with pytest.raises(ValueError, match=r"batch of 5 images .* dictionary of 4"):
        dictionary(torch.zeros(5, 3), torch.zeros(5, dtype=torch.long))
    for shape in ((2, 4), (2, 3, 1), (3,)):
        with pytest.raises(ValueError, match="width 3, not"):
            dictionary(torch.zeros(shape), torch.zeros(shape[0], dtype=torch.long))
    with pytest.raises(ValueError):
        dictionary(torch.zeros(2, 3), torch.zeros(3, dtype=torch.long))
    assert all(torch.equal(value, before[name]) for name, value in dictionary.state_dict().items())
    for size, dim in ((0, 3), (4, 0), (-1, 3)):
        with pytest.raises(ValueError, match="at least 1"):
            NegativeDictionary(size, dim)


def test_state_goes_on_identically() -> None:
    stream = Stream()
    dictionary = NegativeDictionary(7, 3)
    for _ in range(4):
        dictionary(*stream.batch(3))
    resumed, copied = NegativeDictionary(7, 3), copy.deepcopy(dictionary)
    resumed.load_state_dict(copy.deepcopy(dictionary.state_dict()))
    for _ in range(5):
        batch = stream.batch(3)
        keys = [other(*batch) for other in (dictionary, resumed, copied)]
        for other in keys[1:]:
            for part in ("features", "pids", "positive", "negative"):
                assert torch.equal(getattr(other, part), getattr(keys[0], part))
    with pytest.raises(RuntimeError, match="size mismatch"):
        NegativeDictionary(8, 3).load_state_dict(dictionary.state_dict())


@pytest.mark.parametrize(("size", "dim"), [(8192, 2048), (5, 3)])
def test_bytes(size: int, dim: int) -> None:
    with torch.device("meta"):
        dictionary = NegativeDictionary(size, dim)
    state = dictionary.state_dict()
    # A float32 a number; identity and stamp of each image, and three counters, are 64 bits.
    assert sum(value.nbytes for value in state.values()) == size * (4 * dim + 2 * 8) + 3 * 8
    assert {*state} == {name for name, _ in dictionary.named_buffers()} and not [*dictionary.parameters()]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_features_are_kept_in_float32_without_a_graph(dtype: torch.dtype) -> None:
    dictionary = NegativeDictionary(4, 3)
    features = torch.randn(4, 3).to(dtype).requires_grad_()
    keys = dictionary(features * 1, torch.arange(4))
    assert keys.features.dtype == torch.float32 and not keys.features.requires_grad
    assert torch.equal(keys.features, features.detach().float())


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8])
def test_identities_of_any_integer_type(dtype: torch.dtype) -> None:
    dictionary = NegativeDictionary(4, 3)
    keys = dictionary(torch.randn(3, 3), torch.tensor([5, 6, 5], dtype=dtype))
    assert keys.positive.sum() == 2 and keys.negative.sum() == 4


def test_inputs_are_left_alone_and_not_kept() -> None:
    dictionary = NegativeDictionary(3, 2)
    features, pids = torch.randn(3, 2), torch.tensor([4, 5, 4])
    before = features.clone()
    dictionary(features, pids)
    assert torch.equal(features, before) and pids.tolist() == [4, 5, 4]
    features.zero_()
    pids.zero_()
    assert torch.equal(dictionary.features, before) and dictionary.pids.tolist() == [4, 5, 4]


def test_a_backward_pass_may_follow_the_forward_passes_of_several_batches() -> None:
    """Accumulated batches: the keys of each are used up before the next one comes."""
    dictionary, stream = NegativeDictionary(10, 3), Stream()
    weight = torch.eye(3).requires_grad_()
    for _ in range(3):
        features, pids = stream.batch(4)
        queries = features @ weight
        HardDistanceElasticLoss().from_outputs(
            {"features": queries, "keys": dictionary(queries, pids)}, pids
        ).backward()
    assert weight.grad is not None and weight.grad.isfinite().all()


@pytest.mark.parametrize("past_positives", [False, True])
def test_nothing_depends_on_values_that_a_gpu_would_have_to_send(past_positives: bool) -> None:
    with FakeTensorMode():
        dictionary = NegativeDictionary(8, 3, past_positives=past_positives)
        keys: Any = dictionary(torch.randn(3, 3), torch.zeros(3, dtype=torch.long))
        assert keys.positive.shape == (3, 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: there, a transfer to the host is an error")
def test_the_gpu_is_not_waited_for() -> None:
    dictionary, stream = NegativeDictionary(8, 3).cuda(), Stream()
    batches = [tuple(part.cuda() for part in stream.batch(3)) for _ in range(4)]
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for features, pids in batches:
            dictionary(features, pids)
    finally:
        torch.cuda.set_sync_debug_mode(before)
    assert int(dictionary.filled) == 8
