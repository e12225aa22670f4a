"""Two gloo processes that train a small MoReID, against one that has the whole batches."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from ranks import run_ranks
from torch import Tensor, nn

from fastreid_ext.config import get_cfg
from fastreid_ext.engine.build import wrap_model
from fastreid_ext.modeling.heads import EmbeddingHead
from fastreid_ext.modeling.losses import Criterion, CrossEntropyLoss
from fastreid_ext.projects.moreid import HardDistanceElasticLoss, MoReID, NegativeDictionary
from fastreid_ext.utils.dist import leave_group

STEPS, BATCH, SIZE, WIDTH = 20, 12, 40, 6


def small_model() -> MoReID:
    """Without batch norms, whose statistics are those of a rank's images."""
    torch.manual_seed(0)
    model = MoReID(
        backbone=nn.Sequential(nn.Conv2d(3, WIDTH, 3, 2), nn.Tanh(), nn.Conv2d(WIDTH, WIDTH, 3)),
        heads=EmbeddingHead(feature_dim=WIDTH, num_classes=5),
        dictionary=NegativeDictionary(SIZE, WIDTH),
        momentum=0.9,
        momentum_schedule="cosine",
        criterion=Criterion(losses=[CrossEntropyLoss(), HardDistanceElasticLoss()]),
    )
    return model.double().train()


def whole_batch(step: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(step)
    pids = torch.randint(5, (BATCH,), generator=generator)
    images = torch.randn(BATCH, 3, 9, 9, dtype=torch.float64, generator=generator) + pids[:, None, None, None] / 10
    return {"images": images, "targets": pids}


def digest(module: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in module.state_dict().items():
        found.update(name.encode() + value.contiguous().numpy().tobytes())
    return found.hexdigest()


def train(rows: slice) -> dict[str, Any]:
    """What a process has in the end, and what it had after each step, of these rows of each batch."""
    model = small_model()
    wrapped = wrap_model(get_cfg(["moreid"]), model)
    optimizer = torch.optim.SGD([weight for weight in model.parameters() if weight.requires_grad], 0.1, momentum=0.9)
    digests, losses = [], []
    for step in range(STEPS):
        found = wrapped({name: part[rows] for name, part in whole_batch(step).items()})
        optimizer.zero_grad()
        torch.stack([*found.values()]).sum().backward()
        optimizer.step()
        model.after_step((step + 1) / STEPS)
        digests.append((digest(model.dictionary), digest(model.momentum_encoder)))
        losses.append(found["loss_he"].item())
    return {"state": model.state_dict(), "digests": digests, "losses": losses}


def run_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    half = BATCH // 2
    torch.save(train(slice(half * rank, half * rank + half)), f"{folder}/{rank}.pt")
    leave_group()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    run_ranks(run_rank, (str(tmp_path),))
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    one = train(slice(None))
    # Bit by bit, after each step.
    assert first["digests"] == second["digests"] and len(set(first["digests"])) == STEPS
    assert all(torch.equal(value, second["state"][name]) for name, value in first["state"].items())
    # The order of the images in the dictionary is that of the batches: rank by rank.
    for name in ("pids", "batches", "pointer", "filled", "num_batches"):
        assert torch.equal(first["state"][f"dictionary.{name}"], one["state"][f"dictionary.{name}"])
    torch.testing.assert_close(first["state"], one["state"], rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(first["losses"], one["losses"], rtol=1e-7, atol=1e-7)
    assert min(one["losses"]) > 0.01
    start = small_model().state_dict()
    for part in ("backbone.0.weight", "momentum_encoder.backbone.0.weight"):
        assert (one["state"][part] - start[part]).abs().max() > 1e-3
    assert not torch.equal(one["state"]["backbone.0.weight"], one["state"]["momentum_encoder.backbone.0.weight"])
