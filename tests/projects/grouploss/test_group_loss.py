"""Group Loss against the paper's formulas, in value and gradient, and what does not change it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from group_loops import Batch, draw_batch, draw_relations, slow_loss, slow_losses
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy

from fastreid_ext.config import ConfigError, get_cfg
from fastreid_ext.modeling.losses import LOSSES, build_criterion
from fastreid_ext.projects.grouploss import GroupLoss
from fastreid_ext.projects.grouploss.anchors import draw_anchors

every_form = pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
every_similarity = pytest.mark.parametrize("similarity", ["clamp", "shift"])
options: dict[str, Any] = {
    "steps": st.integers(0, 4),
    "similarity": st.sampled_from(["clamp", "shift"]),
    "sparse": st.booleans(),
    "temperature": st.sampled_from([0.5, 1.0, 10.0]),
}


def loss_of(batch: Batch, relations: Tensor | None = None, **kwargs: Any) -> Tensor:
    kwargs = {"temperature": 1.0} | kwargs
    value: Tensor = GroupLoss(**kwargs)(batch.embeddings, batch.logits, batch.pids, batch.anchors, relations)
    return value


def with_gradients(loss: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor, ...]:
    """Value and gradients of embeddings and logits."""
    leaves = [x.clone().requires_grad_() for x in (batch.embeddings, batch.logits)]
    value = loss(replace(batch, embeddings=leaves[0], logits=leaves[1]))
    if not value.requires_grad:
        return value, *(torch.zeros_like(x) for x in leaves)
    return value.detach(), *torch.autograd.grad(value, leaves, allow_unused=True, materialize_grads=True)


def assert_equal(found: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**30),
    images=st.integers(1, 7),
    classes=st.integers(2, 5),
    anchors=st.sampled_from([0.0, 0.3, 0.8]),
    known=st.sampled_from([None, 0.3, 1.0]),
    **options,
)
def test_equals_the_loop(
    seed: int, images: int, classes: int, anchors: float, known: float | None, **kwargs: Any
) -> None:
    batch = draw_batch(seed, images, classes, anchors=anchors)
    relations = None if known is None else draw_relations(seed, images, known)
    losses = slow_losses(batch, relations=relations, **kwargs)
    found = loss_of(batch, relations, **kwargs).item()
    if losses and max(losses) == torch.inf:
        # Somebody's class has no support; here that is one of the smallest numbers, not 0.
        assert 500 / len(losses) < found < 1e6
    else:
        assert found == pytest.approx(slow_loss(batch, relations=relations, **kwargs).item(), rel=1e-9, abs=1e-9)


@every_form
@every_similarity
@pytest.mark.parametrize("steps", [0, 1, 4])
def test_gradients_equal_the_loops(sparse: bool, similarity: str, steps: int) -> None:
    kwargs: dict[str, Any] = {"steps": steps, "similarity": similarity, "sparse": sparse, "temperature": 2.0}
    for seed in range(3):
        batch = draw_batch(seed, 7, 4, anchors=0.3)
        relations = draw_relations(seed, 7, 0.3) if seed else None
        expected = with_gradients(lambda b, r=relations: slow_loss(b, relations=r, **kwargs), batch)
        assert expected[0].isfinite() and expected[2].any() and expected[1].any() == (steps > 0)
        assert_equal(with_gradients(lambda b, r=relations: loss_of(b, r, **kwargs), batch), expected)


@every_form
@every_similarity
@pytest.mark.parametrize("steps", range(1, 5))
def test_gradcheck(sparse: bool, similarity: str, steps: int) -> None:
    batch = draw_batch(21, 6, 4, 3, anchors=0.4)
    assert batch.anchors.any() and not batch.anchors.all()
    loss = GroupLoss(temperature=2.0, steps=steps, similarity=similarity, sparse=sparse)  # type: ignore[arg-type]
    inputs = (batch.embeddings.requires_grad_(), batch.logits.requires_grad_())
    for relations in (None, draw_relations(1, 6, 0.3)):
        assert torch.autograd.gradcheck(lambda e, x, r=relations: loss(e, x, batch.pids, batch.anchors, r), inputs)


@every_similarity
@pytest.mark.parametrize("temperature", [0.1, 1.0, 24.0])
def test_without_steps_it_is_cross_entropy(similarity: str, temperature: float) -> None:
    batch = draw_batch(1, anchors=0)
    kwargs: dict[str, Any] = {"steps": 0, "temperature": temperature, "similarity": similarity}
    expected = with_gradients(lambda b: cross_entropy(b.logits / temperature, b.pids), batch)
    assert_equal(with_gradients(lambda b: loss_of(b, **kwargs), batch), expected, 1e-12)
    anchors = torch.arange(8) % 3 == 1
    some = with_gradients(lambda b: cross_entropy(b.logits[~anchors] / temperature, b.pids[~anchors]), batch)
    found = with_gradients(lambda b: loss_of(b, **kwargs), replace(batch, anchors=anchors))
    assert_equal(found, some, 1e-12)
    assert not found[2][anchors].any()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**30), **(options | {"sparse": st.just(True)}))
def test_sparse_equals_dense(seed: int, sparse: bool, **kwargs: Any) -> None:
    """Where all mass lies in the batch's identities; and dense of their logits and numbers alone is sparse."""
    batch = draw_batch(seed, 8, 9)
    expected = with_gradients(lambda b: loss_of(b, sparse=sparse, **kwargs), batch)
    present = batch.pids.unique()
    unlikely = torch.full_like(batch.logits, -1e4).index_copy(1, present, batch.logits[:, present])
    assert_equal(with_gradients(lambda b: loss_of(b, **kwargs), replace(batch, logits=unlikely)), expected)
    numbers = torch.searchsorted(present, batch.pids)
    alone = with_gradients(lambda b: loss_of(replace(b, logits=b.logits[:, present], pids=numbers), **kwargs), batch)
    assert_equal(alone, expected)
    without = loss_of(
        replace(batch, logits=torch.randn_like(unlikely).index_copy(1, present, batch.logits[:, present])),
        sparse=sparse,
        **kwargs,
    )
    assert without.item() == pytest.approx(expected[0].item(), rel=1e-12)


def test_sparse_differs_from_dense_elsewhere() -> None:
    batch = draw_batch(2, 8, 9)
    assert abs(loss_of(batch) - loss_of(batch, sparse=True)) > 0.01


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**30), **options)
def test_neither_order_nor_names_matter(seed: int, **kwargs: Any) -> None:
    batch = draw_batch(seed)
    value, of_embeddings, of_logits = with_gradients(lambda b: loss_of(b, **kwargs), batch)
    rows, columns = torch.randperm(8), torch.randperm(5)
    moved = Batch(
        batch.embeddings[rows], batch.logits[rows][:, columns], columns.argsort()[batch.pids[rows]], batch.anchors[rows]
    )
    found = with_gradients(lambda b: loss_of(b, **kwargs), moved)
    assert_equal(found, (value, of_embeddings[rows], of_logits[rows][:, columns]))


@every_form
@every_similarity
def test_neither_scale_nor_shift_of_embeddings_or_logits_matters(sparse: bool, similarity: str) -> None:
    batch = draw_batch(3)
    scales, shifts = 10 * torch.rand(8, 1, dtype=torch.float64) + 0.1, torch.randn(8, 1, dtype=torch.float64)
    expected = loss_of(batch, similarity=similarity, sparse=sparse)
    moved = replace(batch, embeddings=scales * batch.embeddings + shifts, logits=batch.logits + 5 * shifts)
    torch.testing.assert_close(loss_of(moved, similarity=similarity, sparse=sparse), expected, rtol=1e-10, atol=0)
    mirrored = replace(batch, embeddings=batch.embeddings * shifts.sign())
    assert abs(loss_of(mirrored, similarity=similarity, sparse=sparse) - expected) > 1e-3


@pytest.mark.parametrize("number", [0, 1, 2, 9])
def test_anchors_are_drawn_of_each_identity(number: int) -> None:
    pids = torch.tensor([3, 5, 3, 7, 3, 5, 5, 3, -2])
    turns = torch.zeros(9)
    for seed in range(40):
        torch.manual_seed(seed)
        mask = draw_anchors(pids, number)
        torch.manual_seed(seed)
        assert torch.equal(draw_anchors(pids, number), mask) and mask.dtype == torch.bool
        assert all(mask[pids == pid].sum() == min(number, (pids == pid).sum() - 1) for pid in pids)
        turns += mask
    twice = (pids == 3) | (pids == 5)
    assert not turns[~twice].any() and turns[twice].all() == (number > 0)
    if number == 1:
        # 10 and 13 1/3 in the mean.
        assert turns[twice].min() > 3 and turns[twice].max() < 25
    assert draw_anchors(pids[:0], number).shape == (0,)


def test_anchors_are_drawn_when_none_are_given() -> None:
    batch = draw_batch(4, anchors=0)
    for anchors in (0, 1, 2):
        torch.manual_seed(5)
        drawn = GroupLoss(temperature=1.0, anchors=anchors)(batch.embeddings, batch.logits, batch.pids)
        torch.manual_seed(5)
        expected = loss_of(replace(batch, anchors=draw_anchors(batch.pids, anchors)))
        assert torch.equal(drawn, expected)


def test_relations() -> None:
    """Known pairs are similar or not, whatever their embeddings; without any, nothing changes."""
    batch, none = draw_batch(6), torch.zeros(8, 8)
    assert torch.equal(loss_of(batch, none), loss_of(batch))
    same = torch.where(batch.pids[:, None] == batch.pids, 1, -1)
    value, of_embeddings, of_logits = with_gradients(lambda b: loss_of(b, same), batch)
    assert not of_embeddings.any() and of_logits.any()
    assert (same.diagonal() == 1).all() and torch.equal(loss_of(batch, same - torch.eye(8)), value)
    other = replace(batch, embeddings=torch.randn(8, 3, dtype=torch.float64))
    assert torch.equal(loss_of(other, same.double()), value)


@every_form
def test_inputs_are_left_alone(sparse: bool) -> None:
    batch, relations = draw_batch(7), draw_relations(7, 8, 0.5)
    embeddings, logits = batch.embeddings.clone().requires_grad_(), batch.logits.clone().requires_grad_()
    pids, anchors, known = batch.pids.clone(), batch.anchors.clone(), relations.clone()
    GroupLoss(sparse=sparse)(embeddings, logits, pids, anchors, known).backward()
    pairs = zip((embeddings, logits, pids, anchors, known), (*vars(batch).values(), relations), strict=True)
    assert all(torch.equal(after, before) for after, before in pairs)


def config(**group: Any) -> Any:
    cfg = get_cfg(["grouploss"])
    cfg.MODEL.LOSSES.NAME = ["CrossEntropyLoss", "GroupLoss"]
    cfg.MODEL.LOSSES.GROUP.update(group)
    return cfg


def test_from_config() -> None:
    loss = build_criterion(config()).losses["group"]
    assert vars(loss)["steps"] == 3 and LOSSES.get("GroupLoss") is GroupLoss
    values = {"TEMPERATURE": 24.0, "ANCHORS": 2, "STEPS": 1, "SIMILARITY": "shift", "SPARSE": True}
    criterion = build_criterion(config(**values, SCALE=0.5))
    found = vars(criterion.losses["group"])
    assert {name: found[name.lower()] for name in values} == values
    assert "temperature=24.0, anchors=2, steps=1, similarity='shift', sparse=True" in repr(criterion)


def test_in_a_criterion() -> None:
    batch = draw_batch(8)
    criterion = build_criterion(config(ANCHORS=0, SCALE=0.5))
    outputs = {"features": batch.embeddings, "pred_class_logits": batch.logits, "cls_outputs": batch.logits + 1}
    expected = GroupLoss(anchors=0)(batch.embeddings, batch.logits, batch.pids) / 2
    found = criterion(outputs, batch.pids)
    assert sorted(found) == ["loss_cls", "loss_group"] and torch.equal(found["loss_group"], expected)
    related = draw_relations(1, 8, 0.5)
    with_relations = criterion(outputs | {"relations": related}, batch.pids)["loss_group"]
    none = torch.zeros(8, dtype=torch.bool)
    assert torch.equal(with_relations * 2, GroupLoss()(batch.embeddings, batch.logits, batch.pids, none, related))
    plain = {name: outputs[name] for name in ("features", "cls_outputs")}
    of_branches = criterion({"branches": {"whole": outputs, "part": plain}}, batch.pids)
    assert sorted(of_branches) == ["loss_cls_part", "loss_cls_whole", "loss_group_whole"]
    assert torch.equal(of_branches["loss_group_whole"], expected)
    for without, whose in ((plain, "the head does not give"), ({"branches": {"part": plain}}, "no branch of part has")):
        with pytest.raises(ConfigError, match=f"loss_group takes features and pred_class_logits .*{whose}"):
            criterion(without, batch.pids)


@pytest.mark.parametrize("sampler", ["NaiveIdentitySampler", "BalancedIdentitySampler"])
def test_an_identity_needs_an_image_that_is_no_anchor(sampler: str) -> None:
    cfg = config(ANCHORS=4)
    cfg.DATALOADER.NUM_INSTANCE = 4
    build_criterion(cfg)
    cfg.DATALOADER.SAMPLER_TRAIN = sampler
    with pytest.raises(ConfigError, match=r"MODEL\.LOSSES\.GROUP\.ANCHORS is 4, .*DATALOADER\.NUM_INSTANCE 4"):
        build_criterion(cfg)
    cfg.MODEL.LOSSES.GROUP.ANCHORS = 3
    build_criterion(cfg)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"temperature": 0.0}, "temperature .* is 0"),
        ({"temperature": -1.0}, "temperature .* is -1"),
        ({"temperature": float("inf")}, "temperature .* is inf"),
        ({"temperature": float("nan")}, "temperature .* is nan"),
        ({"steps": -1}, "steps from 0 on, not 1 and -1"),
        ({"anchors": -2}, "anchors .* from 0 on, not -2"),
        ({"similarity": "cosine"}, "unknown similarity 'cosine'.*clamp, shift"),
    ],
)
def test_wrong_options_are_refused(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GroupLoss(**kwargs)
    with pytest.raises(ValueError, match=message):
        build_criterion(config(**{name.upper(): value for name, value in kwargs.items()}))


@every_form
def test_wrong_inputs_are_refused(sparse: bool) -> None:
    loss, (e, x, pids, _) = GroupLoss(anchors=2, sparse=sparse), vars(draw_batch(9)).values()
    flags = torch.zeros(8, dtype=torch.bool)
    for arguments, message in (
        ((e, x[:7], pids), r"\(7, 5\) and \(8,\)"),
        ((e[:7], x, pids), r"\(7, 4\) and \(8,\)"),
        ((e, x, pids[:7]), r"\(8, 4\) and \(7,\)"),
        ((e, x, pids[:, None]), r"\(8, 4\) and \(8, 1\)"),
        ((e[:1], x[:1], pids[:1]), "2 anchors of each identity, but no identity of the batch has more than 1 image"),
        ((e, x, pids, flags[:7]), r"anchor_mask .*\(8,\), not \(7,\)"),
        ((e, x, pids, flags[:, None]), r"anchor_mask .*\(8,\), not \(8, 1\)"),
        ((e, x, pids, flags.long()), "anchor_mask is boolean .* torch.int64"),
        ((e, x, pids, flags, torch.zeros(8, 7)), r"relations .*\(8, 8\), not \(8, 7\)"),
    ):
        with pytest.raises(ValueError, match=message):
            loss(*arguments)
