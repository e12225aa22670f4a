"""Losses of queries against any keys: what they are against a batch that is its own keys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fastreid_ext import projects
from fastreid_ext.functional.keys import Keys, keys_of_batch
from fastreid_ext.modeling.losses import CircleLoss, Cosface, KeyedLoss, TripletAllLoss, TripletLoss

LOSSES: dict[str, KeyedLoss] = {
    "hard": TripletLoss(margin=0.3),
    "hard, unit vectors": TripletLoss(margin=0.0, norm_feat=True),
    "weighted": TripletLoss(margin=0.5, hard_mining=False),
    "all": TripletAllLoss(margin=0.3),
    "circle": CircleLoss(margin=0.25, gamma=16.0),
    "cosface": Cosface(margin=0.25, gamma=16.0),
    "gms": projects.load("gms").GMSPairwiseLoss(),
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
PIDS = torch.tensor([0, 0, 1, 1, 1, 2, 2, 3])
OTHERS = ~torch.eye(8, dtype=torch.bool)


def embed(rows: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(rows, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@every_loss
def test_a_batch_as_its_own_keys(loss: KeyedLoss) -> None:
    expected = loss(embed(), PIDS)
    torch.testing.assert_close(loss(embed(), embed(), PIDS, PIDS, OTHERS), expected)
    torch.testing.assert_close(loss.compare(embed(), keys_of_batch(embed(), PIDS)), expected)
    outputs = {"features": embed()}
    torch.testing.assert_close(loss.from_outputs(outputs, PIDS), expected)
    torch.testing.assert_close(loss.from_outputs({**outputs, "keys": keys_of_batch(embed(), PIDS)}, PIDS), expected)


@every_loss
def test_keys_that_are_neither_do_not_count(loss: KeyedLoss) -> None:
    features, pids = torch.cat((embed(), embed(3, seed=1))), torch.cat((PIDS, torch.tensor([0, 1, 9])))
    allowed = torch.cat((torch.ones(8, 8, dtype=torch.bool), torch.zeros(8, 3, dtype=torch.bool)), dim=1)
    own = torch.cat((OTHERS, torch.zeros(8, 3, dtype=torch.bool)), dim=1)
    torch.testing.assert_close(loss(embed(), features, PIDS, pids, own, allowed), loss(embed(), PIDS))


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "all"])
def test_one_query_after_the_other_gives_the_mean(name: str) -> None:
    """All but the loss whose mean is over triplets."""
    loss = LOSSES[name]
    keys, key_ids = embed(20, seed=2), torch.arange(20) % 5
    queries, query_ids = embed(6), torch.tensor([0, 1, 2, 3, 4, 0])
    each = [loss(queries[i : i + 1], keys, query_ids[i : i + 1], key_ids) for i in range(6)]
    torch.testing.assert_close(loss(queries, keys, query_ids, key_ids), torch.stack(each).mean())


@every_loss
@pytest.mark.parametrize(("rows", "keys"), [(3, 0), (0, 4), (0, 0)])
def test_without_queries_or_keys_the_loss_is_zero_with_a_graph(loss: KeyedLoss, rows: int, keys: int) -> None:
    queries = torch.ones(rows, 5, requires_grad=True)
    value = loss(queries, torch.ones(keys, 5), torch.zeros(rows).long(), torch.zeros(keys).long())
    value.backward()
    assert value == 0 and queries.grad is not None and not queries.grad.any()


@every_loss
def test_keys_get_gradients_where_they_have_a_graph(loss: KeyedLoss) -> None:
    queries, keys = embed().requires_grad_(), embed(seed=3).requires_grad_()
    loss(queries, keys, PIDS, PIDS).backward()
    assert queries.grad is not None and queries.grad.any() and keys.grad is not None and keys.grad.any()


def test_what_does_not_belong_together_is_refused() -> None:
    loss = TripletLoss()
    with pytest.raises(ValueError, match="queries are 5 wide, keys 4"):
        loss(embed(), torch.zeros(3, 4), PIDS, torch.zeros(3).long())
    with pytest.raises(ValueError, match=r"a mask of 8 queries and 8 keys cannot be \(8, 3\)"):
        loss(embed(), embed(), PIDS, PIDS, torch.ones(8, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"\(8, 5\) and \(3,\)"):
        loss(embed(), embed(), PIDS, PIDS[:3])
    keys = Keys(embed(), PIDS, OTHERS[:4], OTHERS[:4])
    with pytest.raises(ValueError, match="a mask of 8 queries and 8 keys"):
        loss.from_outputs({"features": embed(), "keys": keys}, PIDS)
