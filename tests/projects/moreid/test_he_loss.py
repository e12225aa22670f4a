"""The hard-distance elastic loss against the paper's scan, in value and gradient, and what does not change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from he_loops import distances_of, hard_counts, lowest_on_a_grid, penalty, scan_loss
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastreid_ext.config import ConfigError, get_cfg
from fastreid_ext.functional.keys import Keys
from fastreid_ext.modeling.losses import LOSSES
from fastreid_ext.projects.moreid import HardDistanceElasticLoss

METRICS = ("euclidean", "cosine")
every_metric = pytest.mark.parametrize("metric", METRICS)


@dataclass(frozen=True)
class Case:
    """Queries with their keys, of which some are neither positive nor negative."""

    queries: Tensor
    keys: Tensor
    positive: Tensor
    negative: Tensor

    def loss(self, metric: Any, queries: Tensor, keys: Tensor) -> Tensor:
        pids = torch.zeros(len(keys), dtype=torch.long)
        return HardDistanceElasticLoss(metric=metric).compare(queries, Keys(keys, pids, self.positive, self.negative))

    def scan(self, metric: str, queries: Tensor, keys: Tensor) -> Tensor:
        return scan_loss(queries, keys, self.positive, self.negative, metric)


def draw_case(seed: int, *, queries: int, keys: int, ids: int, spare: float, ties: bool, dim: int = 3) -> Case:
    """Rows on a grid so that squared distances have no rounding error; some keys are copies of queries.

    `ties`: rows are small multiples of the axes, whose lengths are exact, too. Else distances differ but for copies.
    """
    generator = torch.Generator().manual_seed(seed)
    if ties:
        which = torch.randint(dim, (queries + keys,), generator=generator)
        steps = torch.tensor([-2.0, -1, 1, 2], dtype=torch.float64)
        rows = (
            torch.eye(dim, dtype=torch.float64)[which] * steps[torch.randint(4, (len(which), 1), generator=generator)]
        )
    else:
        rows = torch.randint(-(2**21), 2**21, (queries + keys, dim), generator=generator).double() / 2**20
    q, k = rows[:queries], rows[queries:]
    if queries and keys:
        copied = torch.rand(keys, generator=generator) < 0.3
        k = torch.where(copied[:, None], q[torch.randint(queries, (keys,), generator=generator)], k)
    pids = torch.randint(ids, (queries + keys,), generator=generator)
    same = pids[:queries, None] == pids[queries:]
    used = torch.rand(queries, keys, generator=generator) >= spare
    return Case(q, k, same & used, ~same & used)


def without_ties(seed: int, queries: int = 5, keys: int = 20) -> Case:
    """Rows that are nobody's copies."""
    case = draw_case(seed, queries=queries, keys=keys, ids=3, spare=0.1, ties=True)
    rows = torch.randn(queries + keys, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return Case(rows[:queries], rows[queries:], case.positive, case.negative)


def with_gradients(loss: Callable[..., Tensor], *inputs: Tensor) -> tuple[Tensor, ...]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = loss(*leaves)
    return value.detach(), *torch.autograd.grad(value, leaves)


def assert_equal(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def assert_equals_the_scan(case: Case, metric: str) -> None:
    found = with_gradients(lambda q, k: case.loss(metric, q, k), case.queries, case.keys)
    assert_equal(found, with_gradients(lambda q, k: case.scan(metric, q, k), case.queries, case.keys))


sizes = {
    "seed": st.integers(0, 2**30),
    "queries": st.integers(0, 4),
    "keys": st.integers(0, 10),
    "ids": st.integers(1, 4),
    "spare": st.sampled_from([0.0, 0.3]),
    "ties": st.booleans(),
    "dim": st.integers(1, 4),
}


@settings(max_examples=1500, deadline=None)
@given(**sizes)
def test_equals_the_scan(**drawn: Any) -> None:
    assert_equals_the_scan(draw_case(**drawn), "euclidean")


@settings(max_examples=400, deadline=None)
@given(**sizes)
def test_equals_the_scan_with_cosines(**drawn: Any) -> None:
    """Ties of cosines are exact along axes; of copies elsewhere rounding breaks them, which the value does not show."""
    case = draw_case(**drawn)
    if drawn["ties"]:
        assert_equals_the_scan(case, "cosine")
    else:
        found, expected = (loss("cosine", case.queries, case.keys) for loss in (case.loss, case.scan))
        assert_equal((found,), (expected,))


@settings(max_examples=200, deadline=None)
@given(
    pids=st.lists(st.integers(0, 3), min_size=1, max_size=10),
    seed=st.integers(0, 2**30),
    ties=st.booleans(),
)
def test_a_batch_against_itself(pids: list[int], seed: int, ties: bool) -> None:
    embeddings = draw_case(seed, queries=len(pids), keys=0, ids=1, spare=0, ties=ties).queries
    ids = torch.tensor(pids)
    same = ids[:, None] == ids
    positive = same & ~torch.eye(len(pids), dtype=torch.bool)
    expected = with_gradients(lambda x: scan_loss(x, x, positive, ~same), embeddings)
    assert_equal(with_gradients(lambda x: HardDistanceElasticLoss()(x, ids), embeddings), expected)
    by_keys = with_gradients(lambda x: HardDistanceElasticLoss()(x, x, ids, ids, positive_mask=positive), embeddings)
    assert_equal(by_keys, expected)


@every_metric
@pytest.mark.parametrize("seed", range(5))
def test_equals_the_scan_of_any_numbers(metric: str, seed: int) -> None:
    assert_equals_the_scan(without_ties(seed, queries=8, keys=40), metric)


@settings(max_examples=200, deadline=None)
@given(**(sizes | {"queries": st.just(1)}))
def test_no_boundary_is_better(**drawn: Any) -> None:
    case = draw_case(**drawn)
    loss = case.loss("euclidean", case.queries, case.keys).item()
    distances = distances_of(case.queries[0], case.keys)
    lowest, finer = lowest_on_a_grid(distances[case.positive[0]], distances[case.negative[0]])
    assert -1e-12 <= loss <= lowest + 1e-12 and lowest <= loss + finer + 1e-12


def by_hand(positives: list[float], negatives: list[float]) -> tuple[float, list[float]]:
    """Loss of keys on a line, at these distances from the query, and what each distance counts."""
    line = torch.tensor([*positives, *negatives], dtype=torch.float64)[:, None]
    pids = torch.tensor([7] * len(positives) + [8] * len(negatives))
    query = torch.zeros(1, 1, dtype=torch.float64)
    value, gradient = with_gradients(lambda k: HardDistanceElasticLoss()(query, k, torch.tensor([7]), pids), line)
    return value.item(), gradient.flatten().tolist()


@pytest.mark.parametrize(
    ("positives", "negatives", "loss", "weights"),
    [
        ([1, 4], [2, 3], 2, [0, 1, -1, 0]),
        ([1, 2], [3, 4], 0, [0, 0, 0, 0]),
        ([3, 4], [1, 2], 4, [1, 1, -1, -1]),
        ([2, 2], [1], 1, [1 / 2, 1 / 2, -1]),
        ([2, 2, 2], [1], 1, [1 / 3, 1 / 3, 1 / 3, -1]),
        ([3, 1, 3], [2, 2, 2], 2, [1, 0, 1, -2 / 3, -2 / 3, -2 / 3]),
        ([2, 3], [2, 2, 2], 1, [0, 1, -1 / 3, -1 / 3, -1 / 3]),
        ([2, 2], [2, 2], 0, [0, 0, 0, 0]),
        ([5], [], 0, [0]),
        ([], [5], 0, [0]),
        ([], [], 0, []),
    ],
)
def test_values_by_hand(positives: list[float], negatives: list[float], loss: float, weights: list[float]) -> None:
    found = by_hand(positives, negatives)
    assert found[0] == pytest.approx(loss, abs=1e-12) and found[1] == pytest.approx(weights, abs=1e-12)


@every_metric
def test_gradients(metric: Any) -> None:
    loss = HardDistanceElasticLoss(metric=metric)
    generator = torch.Generator().manual_seed(1)
    x, keys = (torch.randn(n, 3, dtype=torch.float64, generator=generator) for n in (9, 12))
    pids, key_ids = torch.arange(9) % 3, torch.arange(12) % 4
    assert loss(x, pids) > 0.1 and loss(x, keys, pids, key_ids) > 0.1
    assert torch.autograd.gradcheck(lambda a: loss(a, pids), x.requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: loss(a, b, pids, key_ids), (x, keys.requires_grad_()))


@every_metric
def test_neither_order_nor_names_matter(metric: Any) -> None:
    case = without_ties(3)
    value, of_queries, of_keys = with_gradients(lambda q, k: case.loss(metric, q, k), case.queries, case.keys)
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        rows, columns = torch.randperm(5, generator=generator), torch.randperm(20, generator=generator)
        masks = (mask[rows][:, columns] for mask in (case.positive, case.negative))
        moved = Case(case.queries[rows], case.keys[columns], *masks)
        found = with_gradients(lambda q, k, moved=moved: moved.loss(metric, q, k), moved.queries, moved.keys)
        assert_equal(found, (value, of_queries[rows], of_keys[columns]))


def test_the_mean_is_over_all_queries() -> None:
    """Queries without a positive, or without a negative, have loss 0 and count."""
    keys = torch.tensor([[3.0], [1.0]])
    loss, key_ids = HardDistanceElasticLoss(), torch.tensor([5, 6])
    assert loss(torch.zeros(1, 1), keys, torch.tensor([5]), key_ids).item() == 2
    assert loss(torch.zeros(4, 1), keys, torch.tensor([5, 9, 9, 9]), key_ids).item() == 0.5
    negative = torch.tensor([[True, True], [False, False]])
    alone = loss(torch.zeros(2, 1), keys, torch.tensor([5, 5]), key_ids, negative_mask=negative)
    assert alone.item() == 1


def test_the_boundary_has_as_many_hard_positives_as_hard_negatives() -> None:
    """Section 3.1, with the |P|-th smallest distance as the boundary."""
    for seed in range(50):
        case = draw_case(seed, queries=1, keys=30, ids=3, spare=0, ties=False, dim=5)
        distances = distances_of(case.queries[0], case.keys)
        p, n = distances[case.positive[0]], distances[case.negative[0]]
        if len(p) and distances.unique().numel() == 30:
            boundary = distances.sort().values[len(p) - 1].item()
            hard_positives, hard_negatives = hard_counts(p, n, boundary)
            on_it = int((n == boundary).sum())
            assert hard_positives == hard_negatives + on_it
            assert case.loss("euclidean", case.queries, case.keys).item() == pytest.approx(
                penalty(p, n, boundary).item()
            )


def test_from_config() -> None:
    cfg = get_cfg(["moreid"])
    loss_class = LOSSES.get("HardDistanceElasticLoss")
    assert loss_class(cfg).metric == "euclidean" and loss_class(cfg).scale(cfg) == 1
    cfg.MODEL.LOSSES.HE.METRIC, cfg.MODEL.LOSSES.HE.SCALE = "cosine", 0.5
    assert loss_class(cfg).metric == "cosine" and loss_class(cfg).scale(cfg) == 0.5
    assert "metric='cosine'" in repr(loss_class(cfg))
    cfg.MODEL.LOSSES.HE.METRIC = "manhattan"
    with pytest.raises(ConfigError, match=r"MODEL\.LOSSES\.HE\.METRIC: unknown metric 'manhattan'"):
        loss_class(cfg)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown metric 'l1'"):
        HardDistanceElasticLoss(metric="l1")  # type: ignore[arg-type]
    loss, x, ids = HardDistanceElasticLoss(), torch.zeros(4, 3), torch.zeros(4, dtype=torch.long)
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(3,\)"):
        loss(x, ids[:3])
    with pytest.raises(ValueError, match="queries are 3 wide, keys 2"):
        loss(x, x[:, :2], ids, ids)
    with pytest.raises(ValueError, match="4 queries and 3 keys"):
        loss(x, x[:3], ids, ids[:3], positive_mask=torch.ones(4, 4, dtype=torch.bool))
