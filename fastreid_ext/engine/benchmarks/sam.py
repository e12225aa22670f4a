"""The Spatial Alignment Module against its definition written with `einsum`, and against the bare product."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from fastreid_ext import projects
from fastreid_ext.engine.benchmarks.peak_memory import PeakMemory
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.engine.benchmarks.timing import alternate

__all__ = ["sam"]

CHANNELS = 512
STRIDE = 16
PER_IDENTITY = 4
# Bytes from which on glibc returns what is freed.
_RETURN_FROM = "MALLOC_MMAP_THRESHOLD_"

Step = Callable[[], object]


@BENCHMARKS.register()
def sam(options: Options) -> Report:
    """Loss and gradients of spatial alignment (pam-self): time and memory, ours against plain einsum.

    Maps are those of a backbone of stride 16: of images of the size asked for, and of square ones of that height. The
    figures are of contiguous maps of the first.
    """
    report = Report()
    height, width = (max(1, side // STRIDE) for side in options.size)
    for size in dict.fromkeys([(height, width), (height, height)]):
        for layout in ("contiguous", "channels-last"):
            trial = _Trial(options.batch_size, size, layout, options.device)
            seconds = alternate(_runs(trial, with_product=True), repeats=options.repeats, device=options.device)
            names = list(_runs(trial, with_product=False))
            memory = {name: _alone(trial, name, returned=True) for name in names}
            by_default = {name: _alone(trial, name, returned=False) for name in names}
            report.rows += [
                {
                    "maps": f"{trial.batch_size} x {CHANNELS} x {size[0]} x {size[1]}",
                    "layout": layout,
                    "what": name,
                    "s": value,
                    "memory MB": memory.get(name),
                    "by default": by_default.get(name),
                }
                for name, value in seconds.items()
            ]
            if size == (height, width) and layout == "contiguous":
                report.figures["sam.time_ratio"] = seconds["einsum"] / seconds["ours"]
                report.figures["sam.over_product"] = seconds["ours"] / seconds["bare product"]
                for figure, taken in (("memory_ratio", memory), ("memory_ratio_by_default", by_default)):
                    ours, plain = taken["ours"], taken["einsum"]
                    if ours is not None and plain is not None:
                        report.figures[f"sam.{figure}"] = plain / max(ours, 1e-3)
    return report


@dataclass(frozen=True)
class _Trial:
    batch_size: int
    size: tuple[int, int]
    layout: str
    device: str


def _runs(trial: _Trial, *, with_product: bool) -> dict[str, Step]:
    """Loss and gradients, both ways with the same weights, and the product of all positions with all."""
    module = projects.load("msinet").SpatialAlignmentModule(CHANNELS).to(trial.device)
    memory_format = torch.channels_last if trial.layout == "channels-last" else torch.contiguous_format
    maps = torch.randn(trial.batch_size, CHANNELS, *trial.size, device=trial.device)
    maps = maps.contiguous(memory_format=memory_format).requires_grad_()
    pids = torch.arange(trial.batch_size, device=trial.device) // PER_IDENTITY
    pam = module.position_activation
    runs: dict[str, Step] = {
        "ours": partial(_step, lambda: module(maps, pids), module, maps),
        "einsum": partial(_step, lambda: _einsum_loss(maps, pids, pam.query, pam.key), module, maps),
    }
    if with_product:
        positions = maps.detach().permute(0, 2, 3, 1).reshape(-1, CHANNELS)
        runs["bare product"] = lambda: positions @ positions.T
    return runs


def _step(loss: Callable[[], Tensor], module: nn.Module, maps: Tensor) -> object:
    maps.grad = None
    module.zero_grad(set_to_none=True)
    return loss().backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped


def _einsum_loss(maps: Tensor, pids: Tensor, query: nn.Module, key: nn.Module) -> Tensor:
    """Eqs. 7-8 as they are written."""
    x = maps.flatten(2)
    activations = torch.einsum("icn,jcm->ijnm", x, x).max(3).values
    of_itself = torch.einsum("bcn,bcm->bnm", query(maps).flatten(2), key(maps).flatten(2)).max(2).values
    same = (pids[:, None] == pids).float()
    of_positives = (1 - cosine_similarity(of_itself[:, None], activations, dim=2)) * same
    directions = normalize(activations, dim=2)
    pairs = (1 - same)[:, :, None] * (1 - same)[:, None]
    of_negatives = (1 - directions @ directions.mT) * pairs
    return (of_positives.sum(1) / same.sum(1) + of_negatives.sum((1, 2)) / pairs.sum((1, 2)).clamp_min(1)).mean()


def _alone(trial: _Trial, name: str, *, returned: bool) -> float | None:
    """Peak memory in a process of its own, where nothing lies free that could be taken unnoticed.

    Args:
        trial: of which maps.
        name: of the run.
        returned: let the C library give back at once what is freed: holes that it keeps by default are not what the
            work needs.
    """
    before = dict(os.environ)
    os.environ.pop(_RETURN_FROM, None)
    if returned:
        os.environ[_RETURN_FROM] = str(2**20)
    try:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_megabytes, torch.get_num_threads(), trial, name).result()
    finally:
        os.environ.clear()
        os.environ.update(before)


def _megabytes(threads: int, trial: _Trial, name: str) -> float | None:
    torch.set_num_threads(threads)
    # So that compilers and libraries have done what they do once.
    _runs(replace(trial, batch_size=8), with_product=False)[name]()
    run = _runs(trial, with_product=False)[name]
    with PeakMemory(trial.device) as peak:
        run()
    return peak.megabytes
