"""Two gloo processes against one that has the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks
from sparse_loops import KINDS, slow_loss
from torch import Tensor

from fastreid_ext.projects.adasp import AdaSPLoss
from fastreid_ext.utils.dist import leave_group

# Images of identities 3 and 5 lie on both ranks; rank 0 has one of identity 7, rank 1 one of identity -1.
PIDS = torch.tensor([5, 3, 7, 5, 3, 5, -1, 3])
LOSSES = {kind: AdaSPLoss(temperature=0.1, kind=kind) for kind in KINDS}  # type: ignore[arg-type]


def draw(rows: int, seed: int) -> Tensor:
    return torch.randn(rows, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def losses_and_gradients(images: Tensor, pids: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Of each kind, with the gradient of weights that all images share."""
    found = {}
    for kind, loss in LOSSES.items():
        weight = draw(6, 9).requires_grad_()
        value = loss.from_outputs({"features": images @ weight}, pids)
        (gradient,) = torch.autograd.grad(value, weight)
        found[kind] = (value.detach(), gradient)
    return found


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    half = slice(4 * rank, 4 * rank + 4)
    found = losses_and_gradients(draw(8, 6)[half], PIDS[half])
    for _, gradient in found.values():
        # As DistributedDataParallel does.
        dist.all_reduce(gradient)
        gradient /= 2
    torch.save(found, f"{folder}/{rank}.pt")
    leave_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    run_ranks(run_rank, (str(tmp_path),))
    expected = losses_and_gradients(draw(8, 6), PIDS)
    by_rank = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for kind, (loss, gradient) in expected.items():
        assert loss.item() == pytest.approx(slow_loss(draw(8, 6) @ draw(6, 9), PIDS, 0.1, kind).item(), abs=1e-9)
        for found in by_rank:
            torch.testing.assert_close(found[kind], (loss, gradient), rtol=0, atol=1e-9)
