"""Group Loss over all classes, over those of the batch, and plain forms of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from fastreid_ext import projects
from fastreid_ext.engine.benchmarks.apart import measure_apart
from fastreid_ext.engine.benchmarks.peak_memory import PeakMemory
from fastreid_ext.engine.benchmarks.plain_grouploss import dense_loss, plain_refine, restricted_loss
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.engine.benchmarks.timing import alternate

__all__ = ["grouploss"]

WIDTH = 1024
IDENTITIES = 10
IMAGES = 6
# The first is that of the figures: the classes of Stanford Online Products that are trained on.
CLASSES = (11_318, 100_000, 1_000_000)
# Beyond, forms over all classes may take more memory than there is: 50 times that of the logits.
LARGEST_DENSE = 100_000
TEMPERATURE = 10.0
REFINEMENTS = 4
# For each repeat: a step of the sparse form takes a few milliseconds.
STEPS = 5
DENSE, SPARSE, GATHERED = "loss, dense", "loss, sparse", "loss, sparse, after the gather"
PLAIN, RESTRICTED = "loss, dense, in probabilities", "loss, sparse, in probabilities"
REFINED, REFINED_SPARSE = "refinement, dense", "refinement, sparse"
PLAIN_REFINED = "refinement, dense, in probabilities"

T = TypeVar("T")
Measured = dict[int, dict[str, float]]


@BENCHMARKS.register()
def grouploss(options: Options) -> Report:
    """Group Loss: loss and gradients over all classes and over those of the batch, and plain forms of both.

    Batches of 60 images, 6 an identity, and 1,024 numbers an image, one anchor an identity, 4 steps of refinement, for
    several numbers of classes. The refinement is measured by itself, from assignments and similarities to the loss, and
    in the whole loss, whose sparse form is measured with the gather from all logits and their gradient, and after it:
    on the logits of the batch's identities. Times are those where the process keeps freed memory, as
    trainings do; memory is what a step adds at most where it does not.
    """
    report = Report()
    seconds: Measured = {}
    megabytes: Measured = {}
    for classes in CLASSES:
        seconds[classes] = _alone(partial(_seconds, options, classes), kept=True)
        megabytes[classes] = _alone(partial(_megabytes, options, classes), kept=False)
        logits = 4e-6 * IDENTITIES * IMAGES * classes
        report.rows += [
            {"classes": classes, "how": how, "s": value, "MB": megabytes[classes].get(how), "MB of logits": logits}
            for how, value in seconds[classes].items()
        ]
    few = min(CLASSES)
    figures = _figures(seconds[few], megabytes[few]) | {"sparse_over_1m": _alone(partial(_growth, options), kept=True)}
    report.figures |= {f"grouploss.{name}": value for name, value in figures.items()}
    return report


def _figures(seconds: Mapping[str, float], megabytes: Mapping[str, float]) -> dict[str, float]:
    """The forms over all classes in ratio to the sparse ones, of which the loss includes the gather."""
    figures = {
        "sparse_speedup": seconds[REFINED] / seconds[REFINED_SPARSE],
        "sparse_speedup_over_plain": seconds[PLAIN_REFINED] / seconds[REFINED_SPARSE],
        "loss_speedup": seconds[DENSE] / seconds[SPARSE],
        "loss_speedup_over_plain": seconds[PLAIN] / seconds[SPARSE],
    }
    for name, dense, sparse in (("sparse", REFINED, REFINED_SPARSE), ("loss", DENSE, SPARSE)):
        if megabytes.get(sparse):
            figures[f"{name}_memory_ratio"] = megabytes[dense] / megabytes[sparse]
    return figures


def _alone(measure: Callable[[], T], *, kept: bool) -> T:
    return measure_apart(measure, kept=kept, what="Group Loss")


def _seconds(options: Options, classes: int) -> dict[str, float]:
    return alternate(_runs(classes, options.device), repeats=STEPS * options.repeats, device=options.device)


def _growth(options: Options) -> float:
    """Time of the sparse loss, after the gather, at the largest number of classes over that at the smallest."""
    steps = {name: _runs(classes, options.device) for name, classes in (("few", min(CLASSES)), ("many", max(CLASSES)))}
    times = alternate(
        {name: runs[GATHERED] for name, runs in steps.items()}, repeats=STEPS * options.repeats, device=options.device
    )
    return times["many"] / times["few"]


def _megabytes(options: Options, classes: int) -> dict[str, float]:
    """What a step of each adds at most; nothing where the system does not tell."""
    found: dict[str, float] = {}
    for name, step in _runs(classes, options.device).items():
        peaks = [_peak(step, options.device) for _ in range(options.repeats + 1)]
        # The first is that of threads and kernels that come into memory.
        told = [peak for peak in peaks[1:] if peak is not None]
        found |= {name: median(told)} if told else {}
    return found


def _peak(step: _Step, device: str) -> float | None:
    step.forget()
    with PeakMemory(device) as peak:
        step()
    step.forget()
    return peak.megabytes


class _Step:
    """Loss and gradients of embeddings and logits."""

    def __init__(self, loss: Callable[[Tensor, Tensor, Tensor], Tensor], *inputs: Tensor) -> None:
        self._loss, self._inputs = loss, inputs

    def __call__(self) -> None:
        self.forget()
        self._loss(*self._inputs).backward()  # type: ignore[no-untyped-call]  # torch leaves backward untyped

    def forget(self) -> None:
        for tensor in self._inputs:
            tensor.grad = None


def _runs(classes: int, device: str) -> dict[str, _Step]:
    images = torch.arange(IDENTITIES * IMAGES, device=device)
    true, anchors = images // IMAGES, images % IMAGES == 0
    chosen = torch.randperm(classes, device=device)[:IDENTITIES]
    embeddings = torch.randn(len(images), WIDTH, device=device, requires_grad=True)
    logits = torch.randn(len(images), classes, device=device, requires_grad=True)
    gathered = logits.detach()[:, chosen].requires_grad_()
    options: dict[str, Any] = {"temperature": TEMPERATURE, "steps": REFINEMENTS}
    loss = projects.load("grouploss").GroupLoss
    dense, sparse = (loss(**options, anchors=1, sparse=restricted) for restricted in (False, True))
    batch = (embeddings, logits, chosen[true])
    runs = {
        GATHERED: _Step(sparse, embeddings, gathered, true),
        SPARSE: _Step(sparse, *batch),
        RESTRICTED: _Step(partial(restricted_loss, anchors=anchors, **options), *batch),
        REFINED_SPARSE: _refinement(gathered, true),
    }
    if classes <= LARGEST_DENSE:
        runs |= {
            DENSE: _Step(dense, *batch),
            PLAIN: _Step(partial(dense_loss, anchors=anchors, **options), *batch),
            REFINED: _refinement(logits, chosen[true]),
            PLAIN_REFINED: _refinement(logits, chosen[true], plain=True),
        }
    return runs


def _refinement(logits: Tensor, true: Tensor, *, plain: bool = False) -> _Step:
    """From assignments and similarities to the loss."""
    similarities = torch.rand(len(logits), len(logits), device=logits.device, requires_grad=True)
    refine = projects.load("grouploss").refine
    prior = (logits.detach() / TEMPERATURE).log_softmax(1)

    def loss(x: Tensor, similarities: Tensor, true: Tensor) -> Tensor:
        refined = plain_refine(x, similarities, REFINEMENTS).log() if plain else refine(x, similarities, REFINEMENTS)
        mean: Tensor = -refined.gather(1, true[:, None]).mean()
        return mean

    return _Step(loss, (prior.exp() if plain else prior).requires_grad_(), similarities, true)
