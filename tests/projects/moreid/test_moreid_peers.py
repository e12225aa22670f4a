"""The losses that HE is compared with: against loops, in value and gradient, and at the edges."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from peer_loops import SLOW, embed, some_keys
from torch import Tensor
from torch._subclasses import FakeTensorMode

from fastreid_ext.config import get_cfg
from fastreid_ext.functional.keys import Keys, keys_of_batch
from fastreid_ext.modeling.losses import LOSSES, KeyedLoss, build_criterion
from fastreid_ext.projects.moreid.peers import (
    ClassTripletLoss,
    InfoNCELoss,
    NPairLoss,
    RankedListLoss,
    WeightedTripletLoss,
)

# The weighted triplet loss remembers what it saw: every test makes its own.
MAKE: dict[str, Callable[[], KeyedLoss]] = {
    "c_triplet": ClassTripletLoss,
    "w_triplet": lambda: WeightedTripletLoss().double(),
    "w_triplet few bins": lambda: WeightedTripletLoss(bins=7, momentum=0.3).double(),
    "n_pair": lambda: NPairLoss(num_negatives=2),
    "n_pair 15": NPairLoss,
    "n_pair all, normalised": lambda: NPairLoss(num_negatives=0, norm_feat=True, l2_weight=0.3),
    "ranked_list": RankedListLoss,
    "ranked_list even": lambda: RankedListLoss(alpha=1.4, margin=1.0, temperature=0.0),
    "info_nce single": lambda: InfoNCELoss(form="single"),
    "info_nce in": lambda: InfoNCELoss(form="in"),
    "info_nce out": InfoNCELoss,
    "info_nce single, mined": lambda: InfoNCELoss(temperature=0.5, form="single", num_negatives=2),
    "info_nce in, mined": lambda: InfoNCELoss(temperature=0.5, form="in", num_negatives=2),
    "info_nce out, mined": lambda: InfoNCELoss(temperature=0.5, form="out", num_negatives=2),
}
NAMES = (ClassTripletLoss, WeightedTripletLoss, NPairLoss, RankedListLoss, InfoNCELoss)
PIDS = torch.tensor([5, -1, 5, 7, 7, 7, 9, -1, 100])
every_loss = pytest.mark.parametrize("name", MAKE)


def with_features(keys: Keys, features: Tensor) -> Keys:
    return Keys(features, keys.pids, keys.positive, keys.negative)


def results(loss: Callable[[Tensor, Keys], Tensor], queries: Tensor, keys: Keys) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, and gradients of queries and keys."""
    x, y = queries.clone().requires_grad_(), keys.features.clone().requires_grad_()
    value = loss(x, with_features(keys, y))
    of_queries, of_keys = torch.autograd.grad(value, (x, y), materialize_grads=True)
    return value.detach(), of_queries, of_keys


def assert_equal(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@every_loss
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_loop(name: str, seed: int) -> None:
    queries, keys = some_keys(seed)
    assert (keys.positive.any(1) & keys.negative.any(1)).sum() > 3 and not (keys.positive | keys.negative).all()
    found = results(MAKE[name]().compare, queries, keys)
    assert_equal(found, results(SLOW[name], queries, keys))
    assert found[0] != 0 and found[1].any() and found[2].any()


@every_loss
def test_equals_the_loop_within_a_batch(name: str) -> None:
    embeddings, slow = embed().requires_grad_(), embed().requires_grad_()
    loss, expected = MAKE[name]()(embeddings, PIDS), SLOW[name](slow, keys_of_batch(slow, PIDS))
    found = loss.detach(), *torch.autograd.grad(loss, embeddings)
    assert_equal(found, (expected.detach(), *torch.autograd.grad(expected, slow)))


@pytest.mark.parametrize("name", [name for name in MAKE if not name.startswith(("w_triplet", "ranked_list"))])
def test_gradients(name: str) -> None:
    queries, keys = some_keys(0, 4, 7)
    loss = MAKE[name]()

    def of(x: Tensor, y: Tensor) -> Tensor:
        return loss.compare(x, with_features(keys, y))

    assert torch.autograd.gradcheck(of, (queries.requires_grad_(), keys.features.clone().requires_grad_()))


@every_loss
def test_orders_do_not_matter(name: str) -> None:
    queries, keys = some_keys(1)
    rows, columns = (torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in keys.positive.shape)
    masks = [mask[rows][:, columns] for mask in (keys.positive, keys.negative)]
    value, of_queries, of_keys = results(MAKE[name]().compare, queries, keys)
    permuted = Keys(keys.features[columns], keys.pids[columns], *masks)
    found = results(MAKE[name]().compare, queries[rows], permuted)
    assert_equal(found, (value, of_queries[rows], of_keys[columns]))


@every_loss
def test_keys_that_are_neither_do_not_count(name: str) -> None:
    queries, keys = some_keys(2)
    strangers = [torch.cat([mask, torch.zeros_like(mask)], dim=1) for mask in (keys.positive, keys.negative)]
    features = torch.cat([keys.features, 50 * embed(13, seed=77)])
    more = Keys(features, torch.cat([keys.pids, keys.pids]), *strangers)
    value, of_queries, of_keys = results(MAKE[name]().compare, queries, keys)
    assert_equal(
        results(MAKE[name]().compare, queries, more),
        (value, of_queries, torch.cat([of_keys, torch.zeros_like(of_keys)])),
    )


@every_loss
def test_duplicates_and_ties(name: str) -> None:
    queries, keys = some_keys(3)
    features = keys.features.clone()
    features[1:7] = features[0]
    features[8] = queries[0]
    tied = Keys(
        torch.cat([features, features]),
        torch.cat([keys.pids, keys.pids]),
        keys.positive.repeat(1, 2),
        keys.negative.repeat(1, 2),
    )
    value, *gradients = results(MAKE[name]().compare, queries, tied)
    torch.testing.assert_close(value, SLOW[name](queries, tied), rtol=1e-6, atol=1e-6)
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_loss
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_identical_embeddings_have_finite_gradients(name: str, value: float) -> None:
    embeddings = torch.full((9, 5), value, requires_grad=True)
    loss = MAKE[name]()(embeddings, PIDS)
    loss.backward()
    assert loss.isfinite() and (loss > 0) == (not name.startswith("w_triplet"))
    assert embeddings.grad is not None and embeddings.grad.isfinite().all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 300.0])
def test_half_precision_is_widened(name: str, dtype: torch.dtype, scale: float) -> None:
    queries, keys = some_keys(0)
    queries, keys = (scale * queries).to(dtype), with_features(keys, (scale * keys.features).to(dtype))
    value, of_queries, of_keys = results(MAKE[name]().compare, queries, keys)
    wide = MAKE[name]().compare(queries.double(), with_features(keys, keys.features.double()))
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), wide, rtol=1e-3, atol=1e-4)
    assert of_queries.isfinite().all() and of_keys.isfinite().all()


@every_loss
def test_autocast_does_not_coarsen_the_loss(name: str) -> None:
    queries, keys = some_keys(0)
    queries, keys = queries.float(), with_features(keys, keys.features.float())
    with torch.autocast("cpu", torch.bfloat16):
        loss = MAKE[name]().compare(queries, keys)
    torch.testing.assert_close(loss, MAKE[name]().compare(queries, keys))


@every_loss
@pytest.mark.parametrize("pids", [[4, 4, 4, 4], [0, 1, 2, 3], [0], []], ids=["one id", "no positives", "one", "empty"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_without_triplets_the_loss_is_zero_with_a_graph(name: str, pids: list[int], dtype: torch.dtype) -> None:
    embeddings = (1000 * embed(len(pids))).to(dtype).requires_grad_()
    loss = MAKE[name]()(embeddings, torch.tensor(pids, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0
    assert embeddings.grad is not None and not embeddings.grad.any()


@every_loss
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_without_queries_or_keys_the_loss_is_zero_with_a_graph(name: str, shape: tuple[int, int]) -> None:
    queries, keys = (embed(n).requires_grad_() for n in shape)
    loss = MAKE[name]()(queries, keys, PIDS[: shape[0]], PIDS[: shape[1]])
    loss.backward()
    assert loss.item() == 0
    assert queries.grad is not None and not queries.grad.any()


@every_loss
def test_nothing_depends_on_values_that_a_gpu_would_have_to_send(name: str) -> None:
    with FakeTensorMode():
        loss = MAKE[name]()
        embeddings = torch.randn(8, 5, requires_grad=True)
        ids = torch.zeros(8, dtype=torch.long)
        loss(embeddings, ids).backward()
        loss(embeddings, torch.randn(20, 5), ids, torch.zeros(20, dtype=torch.long)).backward()


@every_loss
def test_inputs_are_left_alone(name: str) -> None:
    queries, keys = some_keys(0)
    results(MAKE[name]().compare, queries.requires_grad_(), keys)
    again, same = some_keys(0)
    for one, other in zip((queries, *vars(keys).values()), (again, *vars(same).values()), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", [name for name in MAKE if not name.startswith("n_pair")])
def test_lengths_do_not_matter(name: str) -> None:
    queries, keys = some_keys(0)
    longer = with_features(keys, 0.1 * keys.features)
    torch.testing.assert_close(MAKE[name]().compare(7 * queries, longer), MAKE[name]().compare(queries, keys))


def test_agents_leave_out_what_is_nobodys_negative() -> None:
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    ids = torch.tensor([0, 1, 1])
    positive = torch.tensor([[True, True, True], [True, False, True]])
    negative = torch.tensor([[True, True, False], [True, True, False]])
    loss = ClassTripletLoss(margin=3.0)(features[:2], features, ids[:2], ids, positive, negative)
    # The last key is the second query's own agent, but no part of the one that the first query is to keep away from.
    assert loss.item() == pytest.approx(((3 + 0 - 2) + (3 + 2 - 2)) / 2)


def test_ranked_lists_boundaries() -> None:
    directions = torch.tensor([0.0, 0.5, 1.5, 1.0, 2.0], dtype=torch.float64)
    points = torch.stack([directions.cos(), directions.sin()], dim=1)
    ids = torch.tensor([0, 0, 0, 1, 1])
    # Chords of 0.49 and 1.36 to the positives, 0.96 and 1.68 to the negatives: one of either is hard.
    loss = RankedListLoss()(points[:1], points[1:], ids[:1], ids[1:])
    chords = 2 * (directions / 2).sin()
    assert loss.item() == pytest.approx((chords[2] - 0.8 + 1.2 - chords[3]).item() / 2)


@pytest.mark.parametrize("loss_class", NAMES)
def test_configs_make_them(loss_class: type[KeyedLoss]) -> None:
    cfg = get_cfg(["moreid"])
    cfg.MODEL.LOSSES.NAME = (loss_class.__name__,)
    cfg.MODEL.LOSSES[loss_class.node].SCALE = 2.0
    criterion = build_criterion(cfg)
    assert vars(LOSSES.get(loss_class.__name__)(cfg)).keys() == vars(loss_class()).keys()
    assert repr(criterion.losses[loss_class.key]) == repr(loss_class())
    queries, keys = some_keys(0)
    losses = criterion({"features": queries, "keys": keys}, torch.zeros(8))
    torch.testing.assert_close(losses[f"loss_{loss_class.key}"], 2 * loss_class().compare(queries, keys))


@pytest.mark.parametrize(
    ("loss_class", "arguments", "key"),
    [
        (ClassTripletLoss, {"margin": -0.1}, "C_TRIPLET.MARGIN"),
        (WeightedTripletLoss, {"momentum": 0.0}, "W_TRIPLET.MOMENTUM"),
        (WeightedTripletLoss, {"bins": 1}, "W_TRIPLET.BINS"),
        (NPairLoss, {"num_negatives": -1}, "N_PAIR.NUM_NEGATIVES"),
        (NPairLoss, {"l2_weight": -1.0}, "N_PAIR.L2_WEIGHT"),
        (RankedListLoss, {"alpha": 0.0}, "RANKED_LIST.ALPHA"),
        (RankedListLoss, {"margin": 1.3}, "RANKED_LIST.MARGIN"),
        (RankedListLoss, {"temperature": -1.0}, "RANKED_LIST.TEMPERATURE"),
        (InfoNCELoss, {"temperature": 0.0}, "INFO_NCE.TEMPERATURE"),
        (InfoNCELoss, {"form": "both"}, "INFO_NCE.FORM"),
        (InfoNCELoss, {"num_negatives": -1}, "INFO_NCE.NUM_NEGATIVES"),
    ],
)
def test_wrong_arguments_are_refused(loss_class: type[KeyedLoss], arguments: dict[str, object], key: str) -> None:
    with pytest.raises(ValueError, match=f"MODEL.LOSSES.{key}"):
        loss_class(**arguments)
