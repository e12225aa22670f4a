"""Sparse pair-wise losses against the matrix products that they cannot do without, and against plain forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from math import log
from multiprocessing import get_context

import torch
from torch import Tensor

from fastreid_ext import projects
from fastreid_ext.engine.benchmarks.plain_adasp import dense_loss, logsumexp_loss
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.engine.benchmarks.timing import alternate
from fastreid_ext.modeling.losses import MetricLearningLoss, TripletLoss
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.logger import get_logger

__all__ = ["adasp"]

WIDTH = 2048
BATCHES = (256, 512, 1024)
BATCH = 512
IMAGES = (2, 4, 16, 64)
IMAGES_OF_FIGURES = 4
# A step takes a few milliseconds.
STEPS = 10
# At which the dense form does not overflow.
TEMPERATURE = 0.04
KIND = "adasp"
PRODUCT, PRODUCTS, LOGSUMEXP, DENSE = "one product", "three products", "log-sum-exp, autograd", "dense masks, exp"

Step = Callable[[], object]


@dataclass(frozen=True)
class _Batch:
    size: int
    images: int


Seconds = dict[_Batch, dict[str, float]]


@BENCHMARKS.register()
def adasp(options: Options) -> Report:
    """Sparse pair-wise losses: loss and gradients, against three matrix products and plain forms.

    Batches of several sizes at K = 4 images an identity, and of 512 at several K, of 2,048 numbers an image. Each is
    measured where the process keeps freed memory, as trainings do and as the figures are, and where it does not.
    """
    report = Report()
    sizes, numbers = [_Batch(size, IMAGES_OF_FIGURES) for size in BATCHES], [_Batch(BATCH, k) for k in IMAGES]
    batches = list(dict.fromkeys([*sizes, *numbers]))
    for memory in ("kept", "freed"):
        seconds = _measure_alone(options, batches, kept=memory == "kept")
        report.rows += [
            {
                "memory": memory,
                "batch": batch.size,
                "K": batch.images,
                "what": name,
                "s": value,
                "over products": value / times[PRODUCTS],
            }
            for batch, times in seconds.items()
            for name, value in times.items()
        ]
        report.figures |= _figures(seconds, "" if memory == "kept" else "_where_memory_is_freed")
    return report


def _figures(seconds: Seconds, suffix: str) -> dict[str, float]:
    usual = seconds[_Batch(BATCH, IMAGES_OF_FIGURES)]
    # Of the three products ours takes two.
    beyond = {batch: times[KIND] - times[PRODUCTS] * 2 / 3 for batch, times in seconds.items()}
    small, large = (_Batch(size, IMAGES_OF_FIGURES) for size in (min(BATCHES), max(BATCHES)))
    many, few = (_Batch(BATCH, images) for images in (min(IMAGES), max(IMAGES)))
    figures = {
        "over_products": usual[KIND] / usual[PRODUCTS],
        "speedup_over_logsumexp": usual[LOGSUMEXP] / usual[KIND],
        "speedup_over_dense": usual[DENSE] / usual[KIND],
    }
    # Of the time beyond its products, as far as there is any: 2 where it grows with the square of the batch, 0 where it
    # does not grow with the number of identities.
    if min(beyond[small], beyond[large]) > 0:
        figures["exponent_of_batch"] = log(beyond[large] / beyond[small]) / log(large.size / small.size)
    if min(beyond[many], beyond[few]) > 0:
        figures["exponent_of_identities"] = log(beyond[many] / beyond[few]) / log(few.images / many.images)
    return {f"adasp.{name}{suffix}": value for name, value in figures.items()}


def _measure_alone(options: Options, batches: Sequence[_Batch], *, kept: bool) -> Seconds:
    """In a process of its own: what the C library does with memory cannot be taken back."""
    get_logger(__name__).info("measuring sparse losses, memory %s", "kept" if kept else "freed")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, options, batches, kept, torch.get_num_threads()).result()


def _measure(options: Options, batches: Sequence[_Batch], kept: bool, threads: int) -> Seconds:
    torch.set_num_threads(threads)
    if kept:
        keep_freed_memory()
    torch.manual_seed(0)
    timed = partial(alternate, repeats=STEPS * options.repeats, device=options.device)
    return {batch: timed(_runs(batch, options.device)) for batch in batches}


def _runs(batch: _Batch, device: str) -> dict[str, Step]:
    pids = torch.arange(batch.size, device=device) // batch.images
    embeddings = torch.randn(batch.size, WIDTH, device=device, requires_grad=True)
    rows, gradient = embeddings.detach(), torch.randn(batch.size, batch.size, device=device)
    runs: dict[str, Step] = {
        name: partial(_step, loss, embeddings) for name, loss in _losses(batch.images, pids).items()
    }
    runs[PRODUCT] = lambda: rows @ rows.T
    runs[PRODUCTS] = lambda: (rows @ rows.T, gradient @ rows, gradient.T @ rows)
    return runs


def _losses(images: int, pids: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """Of embeddings whose identities have so many images each."""
    project = projects.load("adasp")
    modules = {kind: project.AdaSPLoss(temperature=TEMPERATURE, kind=kind) for kind in (KIND, "sp-h", "sp-lh")}
    modules["TripletLoss, hard"] = TripletLoss(margin=0.0)
    if find_spec("pytorch_metric_learning"):
        modules["pml:SupConLoss"] = MetricLearningLoss("SupConLoss")
    losses: dict[str, Callable[[Tensor], Tensor]] = {
        name: partial(_of_identities, module, pids) for name, module in modules.items()
    }
    for name, loss in ((LOGSUMEXP, logsumexp_loss), (DENSE, dense_loss)):
        losses[name] = partial(loss, images=images, temperature=TEMPERATURE, kind=KIND)
    return losses


def _of_identities(loss: Callable[[Tensor, Tensor], Tensor], pids: Tensor, embeddings: Tensor) -> Tensor:
    return loss(embeddings, pids)


def _step(loss: Callable[[Tensor], Tensor], embeddings: Tensor) -> None:
    embeddings.grad = None
    loss(embeddings).backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped
