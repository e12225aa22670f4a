"""Evaluation in several gloo processes against one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ranks import run_ranks

from fastreid_ext.data.protocol import Protocol
from fastreid_ext.evaluation import FeatureSet, rank_metrics, roc_curve
from fastreid_ext.evaluation import neighbours as neighbours_module
from fastreid_ext.evaluation.evaluators import ReidEvaluator
from fastreid_ext.evaluation.neighbours import nearest_neighbours
from fastreid_ext.evaluation.rankings import Rankings
from fastreid_ext.utils.dist import each_rank_its_rows, gather_rows, get_rank, leave_group

PROCESSES = 3
TILE = 16


def feature_set(queries: int = 20) -> FeatureSet:
    generator = torch.Generator().manual_seed(0)
    pids = torch.arange(90) % 9
    values = torch.randn(9, 8, generator=generator)[pids] + torch.randn(90, 8, generator=generator)
    split = torch.arange(queries), torch.arange(20, 90)
    return FeatureSet("Set", values, pids, torch.arange(90) % 4, [split], Protocol(single_gallery_shot=5))


def evaluator() -> ReidEvaluator:
    return ReidEvaluator(rankings=Rankings(expansion={"k": 3}, reranking={"k1": 8, "k2": 3}), roc=True)


def everything() -> dict[str, Any]:
    features = feature_set()
    values, pids, camids = features.values, features.pids, features.camids
    labels = (pids[:20], pids[20:], camids[:20], camids[20:])
    shared = rank_metrics(values[:20], values[20:], *labels, shard=True)
    neighbours = nearest_neighbours(values, 6, shard=True)
    curves = [roc_curve(values[:20], values[20:], *labels, exact=exact, shard=True) for exact in (True, False)]
    return {
        "evaluation": evaluator()(features),
        "fewer queries than processes": evaluator()(feature_set(queries=2)),
        "per query": {name: getattr(shared, name) for name in ("ap", "inp", "first_match", "r_precision", "ap_at_r")},
        "neighbours": (neighbours.distances, neighbours.indices, neighbours.farthest),
        "curves": [(curve.fpr, curve.tpr, curve.thresholds) for curve in curves],
        "rows": gather_rows(torch.arange(5) if dist.is_initialized() and get_rank() == 1 else torch.arange(0)),
    }


def fail_on_the_last(rows: slice) -> tuple[torch.Tensor, ...]:
    if get_rank() == PROCESSES - 1:
        raise ValueError(f"rows {rows.start} to {rows.stop} are bad")
    return (torch.zeros(rows.stop - rows.start),)


def run_out_of_memory(rows: slice) -> tuple[torch.Tensor, ...]:
    if get_rank() == 1:
        raise MemoryError
    return (torch.zeros(rows.stop - rows.start),)


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    neighbours_module._TILE = TILE
    dist.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=rank, world_size=PROCESSES)
    with pytest.raises(ValueError, match="rows 6 to 10 are bad"):
        each_rank_its_rows(fail_on_the_last, 10)
    with pytest.raises(MemoryError if rank == 1 else RuntimeError, match="" if rank == 1 else "rank 1: MemoryError"):
        each_rank_its_rows(run_out_of_memory, 10)
    torch.save(everything(), folder / f"{rank}.pt")
    leave_group()


def test_several_processes_find_what_one_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours_module, "_TILE", TILE)
    run_ranks(worker, (tmp_path,), processes=PROCESSES)
    alone = everything()
    assert set(alone["evaluation"]["with"]) == {"aqe", "rerank", "aqe+rerank"}
    for rank in range(PROCESSES):
        shared = torch.load(tmp_path / f"{rank}.pt")
        assert shared.pop("rows").tolist() == [0, 1, 2, 3, 4]
        for name in ("evaluation", "fewer queries than processes"):
            assert shared[name] == alone[name]
        # Bit by bit: a neighbour exchanged for another one as near changes figures.
        torch.testing.assert_close(shared["neighbours"], alone["neighbours"], rtol=0, atol=0)
        for name in ("per query", "curves"):
            torch.testing.assert_close(shared[name], alone[name])
