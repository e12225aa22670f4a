"""Two gloo processes against one that has the whole batch."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from group_loops import Batch, slow_loss
from ranks import run_ranks
from torch import Tensor

from fastreid_ext.projects.grouploss import GroupLoss, loss
from fastreid_ext.utils.dist import get_rank, leave_group

# Images of identities 3 and 5 lie on both ranks; rank 0 has one of identity 7, rank 1 one of identity 1.
PIDS = torch.tensor([5, 3, 7, 5, 3, 5, 1, 3])
ANCHORS = torch.tensor([True, False, False, False, True, False, False, False])
RELATIONS = torch.zeros(8, 8).index_put((torch.tensor([0, 1, 6, 4]), torch.tensor([1, 0, 4, 6])), torch.ones(4))
CASES = [*product((False, True), ("clamp", "shift"), (False, True), (False, True))]
OPTIONS: dict[str, Any] = {"temperature": 2.0, "steps": 2}


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def the_same_anchors(pids: Tensor, number: int) -> Tensor:
    """In place of a random choice: those of this process's images."""
    start = 4 * get_rank()
    return ANCHORS[start : start + len(pids)] & (number > 0)


def losses_and_gradients(rows: slice) -> list[tuple[Tensor, ...]]:
    """Of each case, with the gradients of weights that all images share."""
    found = []
    for sparse, similarity, anchors, related in CASES:
        group = GroupLoss(sparse=sparse, similarity=similarity, anchors=int(anchors), **OPTIONS)  # type: ignore[arg-type]
        weight, classifier = draw(6, 5, seed=9).requires_grad_(), draw(5, 9, seed=8).requires_grad_()
        features = draw(8, 6, seed=6)[rows] @ weight
        outputs = {"features": features, "pred_class_logits": features @ classifier}
        value = group.from_outputs(outputs | ({"relations": RELATIONS} if related else {}), PIDS[rows])
        found.append((value.detach(), *torch.autograd.grad(value, (weight, classifier))))
    return found


def losses_of_drawn_anchors(rows: slice) -> Tensor:
    """With random choices, of which each rank makes its own."""
    torch.manual_seed(get_rank())
    features = draw(8, 6, seed=6)[rows]
    outputs = {"features": features, "pred_class_logits": 3 * draw(8, 9, seed=5)[rows]}
    return torch.stack([GroupLoss(**OPTIONS).from_outputs(outputs, PIDS[rows]) for _ in range(20)])


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    rows = slice(4 * rank, 4 * rank + 4)
    drawn = losses_of_drawn_anchors(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loss, "draw_anchors", the_same_anchors)
        found = losses_and_gradients(rows)
    for _, *gradients in found:
        for gradient in gradients:
            # As DistributedDataParallel does.
            dist.all_reduce(gradient)
            gradient /= 2
    torch.save((found, drawn), f"{folder}/{rank}.pt")
    leave_group()


def test_two_processes_equal_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_ranks(run_rank, (str(tmp_path),))
    by_rank = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert torch.equal(by_rank[0][1], by_rank[1][1]) and len(by_rank[0][1].unique()) > 3
    monkeypatch.setattr(loss, "draw_anchors", the_same_anchors)
    whole = losses_and_gradients(slice(None))
    features = draw(8, 6, seed=6) @ draw(6, 5, seed=9)
    for number, (sparse, similarity, anchors, related) in enumerate(CASES):
        batch = Batch(features, features @ draw(5, 9, seed=8), PIDS, ANCHORS & anchors)
        relations = RELATIONS if related else None
        slow = slow_loss(batch, sparse=sparse, similarity=similarity, relations=relations, **OPTIONS)
        assert whole[number][0].item() == pytest.approx(slow.item(), abs=1e-9)
        for found, _ in by_rank:
            torch.testing.assert_close(found[number], whole[number], rtol=0, atol=1e-9)
