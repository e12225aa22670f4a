"""FastReID's losses on the same features and logits, with their gradients, and where ours differ."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from fastreid.modeling.losses import cross_entropy_loss, pairwise_circleloss, pairwise_cosface, triplet_loss
from torch import Tensor
from torch.nn.functional import normalize, softplus

from fastreid_ext.modeling.losses import CircleLoss, Cosface, CrossEntropyLoss, TripletLoss

PIDS = torch.arange(4).repeat_interleave(3)

Both = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


def features() -> Tensor:
    return torch.randn(4, 6)[PIDS] + 0.7 * torch.randn(12, 6)


def assert_equal(both: Both, inputs: Tensor) -> None:
    values, slopes = [], []
    for loss in both:
        leaf = inputs.clone().requires_grad_()
        value = loss(leaf)
        value.backward()
        assert leaf.grad is not None
        values.append(value.detach())
        slopes.append(leaf.grad)
    assert values[0].isfinite() and values[0] > 0
    assert torch.allclose(values[0], values[1], rtol=1e-5, atol=1e-5)
    assert torch.allclose(slopes[0], slopes[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("epsilon", "alpha"), [(0.0, 0.2), (0.1, 0.2)])
def test_cross_entropy(epsilon: float, alpha: float) -> None:
    ours = CrossEntropyLoss(epsilon=epsilon, alpha=alpha)
    both = (lambda x: cross_entropy_loss(x, PIDS, epsilon, alpha), lambda x: ours(x, PIDS))
    assert_equal(both, 3 * torch.randn(12, 5))


def test_adaptive_smoothing_of_cross_entropy() -> None:
    ours = CrossEntropyLoss(epsilon=-1, alpha=0.2)
    assert_equal((lambda x: cross_entropy_loss(x, PIDS, -1, 0.2), lambda x: ours(x, PIDS)), 3 * torch.randn(12, 5))


@pytest.mark.parametrize("margin", [0.3, 0.0])
def test_hard_triplets(margin: float) -> None:
    ours = TripletLoss(margin=margin, hard_mining=True)
    assert_equal((lambda x: triplet_loss(x, PIDS, margin, False, True), lambda x: ours(x, PIDS)), features())


@pytest.mark.parametrize("margin", [0.25, 0.1])
@pytest.mark.parametrize("gamma", [16.0, 128.0])
def test_pairs(margin: float, gamma: float) -> None:
    circle, cosface = CircleLoss(margin=margin, gamma=gamma), Cosface(margin=margin, gamma=gamma)
    assert_equal((lambda x: pairwise_circleloss(x, PIDS, margin, gamma), lambda x: circle(x, PIDS)), features())
    assert_equal((lambda x: pairwise_cosface(x, PIDS, margin, gamma), lambda x: cosface(x, PIDS)), features())


@pytest.mark.parametrize("margin", [0.3, 0.0])
def test_weighted_triplets_leave_out_the_image_itself(margin: float) -> None:
    """FastReID's weights take each image for a positive of itself, at distance 0."""
    ours = TripletLoss(margin=margin, hard_mining=False)

    def theirs(x: Tensor) -> Tensor:
        return triplet_loss(x, PIDS, margin, False, False)

    inputs = features()
    assert_equal((theirs, lambda x: ours(x, x, PIDS, PIDS)), inputs)
    assert ours(inputs, PIDS) > theirs(inputs)


def test_unit_features_have_euclidean_distances() -> None:
    """FastReID's are their squares."""
    inputs = features()
    distances = torch.cdist(normalize(inputs), normalize(inputs))
    same = PIDS[:, None] == PIDS
    positive, negative = (distances * same).amax(1), (distances + 10 * same).amin(1)
    theirs = triplet_loss(inputs, PIDS, 0.3, True, True)
    ours = TripletLoss(margin=0.3, norm_feat=True, hard_mining=True)(inputs, PIDS)
    assert theirs.item() == pytest.approx((positive**2 - negative**2 + 0.3).relu().mean().item(), abs=1e-5)
    assert ours.item() == pytest.approx((positive - negative + 0.3).relu().mean().item(), abs=1e-5)


def test_a_negative_margin_is_an_error() -> None:
    """FastReID takes the soft margin."""
    inputs = features()
    soft = TripletLoss(margin=0.0, hard_mining=True)(inputs, PIDS)
    assert torch.allclose(triplet_loss(inputs, PIDS, -0.3, False, True), soft, atol=1e-5)
    with pytest.raises(ValueError, match="a triplet margin cannot be negative"):
        TripletLoss(margin=-0.3)


def test_images_without_a_positive_do_not_count() -> None:
    """FastReID counts them as nearest to themselves, or as without loss."""
    pids = torch.cat([PIDS[:9], torch.tensor([7, 8, 9])])
    inputs = features()
    of_others = {
        "circle": (CircleLoss(), pairwise_circleloss(inputs, pids, 0.25, 128.0)),
        "cosface": (Cosface(), pairwise_cosface(inputs, pids, 0.25, 128.0)),
    }
    for loss, theirs in of_others.values():
        assert torch.allclose(loss(inputs, pids) * 9 / 12, theirs, rtol=1e-5)
    # Each as far from its only positive, itself, as can be: the soft margin is all that they add.
    hard = TripletLoss(margin=0.0, hard_mining=True)
    lonely = torch.cdist(inputs[9:], inputs) + 1e3 * (pids[9:, None] == pids)
    alone = softplus(-lonely.amin(1)).sum()
    theirs = triplet_loss(inputs, pids, 0.0, False, True)
    assert torch.allclose((hard(inputs, pids) * 9 + alone) / 12, theirs, rtol=1e-4)


def test_images_without_a_loss_count() -> None:
    """FastReID's mean of cross entropies passes over those that are 0."""
    logits = torch.zeros(4, 3)
    logits[0, 0] = 1e3
    pids = torch.zeros(4, dtype=torch.long)
    ours = CrossEntropyLoss(epsilon=0.0)(logits, pids)
    assert torch.allclose(cross_entropy_loss(logits, pids, 0.0), ours * 4 / 3)
