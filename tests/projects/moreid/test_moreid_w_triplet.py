"""What the weighted triplet loss remembers."""

from __future__ import annotations

from math import nan

import pytest
import torch
from peer_loops import Histogram, embed, slow_w_triplet, some_keys

from fastreid_ext.projects.moreid.peers import WeightedTripletLoss

PIDS = torch.tensor([0, 1, 0, 2, 2, 2, 3, 1, 4])


def test_the_histogram_averages_batches_in_training_only() -> None:
    loss, histogram = WeightedTripletLoss(bins=16, momentum=0.25).double(), Histogram(16, 0.25)
    for seed in range(4):
        queries, keys = some_keys(seed)
        torch.testing.assert_close(loss.compare(queries, keys), slow_w_triplet(queries, keys, histogram))
        kept = loss.histogram.clone()
        torch.testing.assert_close(kept, torch.tensor(histogram.masses, dtype=torch.float64))
        with torch.no_grad():
            loss.compare(*some_keys(9))
        loss.eval().compare(*some_keys(9))
        loss.train()(embed(4), torch.arange(4))
        loss(embed(0), torch.arange(0))
        assert torch.equal(loss.histogram, kept)


def test_the_histogram_is_part_of_the_checkpoint() -> None:
    loss, resumed = WeightedTripletLoss(), WeightedTripletLoss()
    loss.compare(*some_keys(0))
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed.compare(*some_keys(1)), loss.compare(*some_keys(1)))
    assert torch.equal(resumed.histogram, loss.histogram)
    assert resumed.histogram.sum().item() == pytest.approx(1)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("among", ["queries", "keys"])
def test_a_step_that_overflows_leaves_nothing_in_the_histogram(first: bool, among: str) -> None:
    loss = WeightedTripletLoss()
    if not first:
        loss.compare(*some_keys(0))
    kept = loss.histogram.clone()
    queries, keys = some_keys(1)
    (queries if among == "queries" else keys.features)[3, 2] = nan
    loss.compare(queries, keys)
    assert torch.equal(loss.histogram, kept)


def test_harder_triplets_weigh_more_and_easy_ones_make_the_loss_negative() -> None:
    embeddings = torch.eye(9, dtype=torch.float64)[PIDS] + 0.1 * embed(9, 9)
    loss = WeightedTripletLoss()(embeddings.requires_grad_(), PIDS)
    assert loss < 0
    assert torch.autograd.grad(loss, embeddings)[0].any()
    gaps = torch.linspace(-2, 2, 33, dtype=torch.float64)
    weights = WeightedTripletLoss()._weigh(gaps, torch.ones(33, dtype=torch.bool))
    assert (weights.diff() > 0).all() and weights[0] > 0 and weights[-1].item() == pytest.approx(1)
