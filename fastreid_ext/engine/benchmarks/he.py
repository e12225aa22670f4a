"""The Hard-distance Elastic loss against the distance product that it cannot do without, and against plain forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from fastreid_ext import projects
from fastreid_ext.engine.benchmarks.apart import measure_apart
from fastreid_ext.engine.benchmarks.moreid_step import (
    BASELINE,
    MOREID,
    dictionary_call,
    dictionary_figures,
    fill,
    loss_step,
    step_seconds,
)
from fastreid_ext.engine.benchmarks.plain_he import dense_loss, scan_loss
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.engine.benchmarks.timing import alternate
from fastreid_ext.functional.distances import Metric
from fastreid_ext.functional.keys import Keys
from fastreid_ext.modeling.layers.dictionary import NegativeDictionary
from fastreid_ext.modeling.losses import TripletLoss

__all__ = ["he"]

WIDTH = 2048
IDENTITIES = 16
IMAGES = 16
SIZES = (512, 1024, 2048, 4096, 8192)
# For each repeat: a step takes some tenths of a second.
STEPS = 5
PRODUCT, OURS, TRIPLET = "one product", "HE", "TripletLoss, hard"
DENSE, SCAN = "HE, dense, autograd", "HE, query by query"

T = TypeVar("T")
Step = Callable[[], object]


@dataclass(frozen=True)
class _Case:
    """Queries and keys.

    Attributes:
        size: of the dictionary.
        trained: positives are the nearest keys, so that no pair is hard; else no nearer than negatives.
        metric: of the distances.
    """

    size: int
    trained: bool = False
    metric: Metric = "euclidean"

    def __str__(self) -> str:
        return f"{'trained' if self.trained else 'untrained'}, {self.metric}"


Seconds = dict[_Case, dict[str, float]]


@BENCHMARKS.register()
def he(options: Options) -> Report:
    """HE loss against one distance product and plain forms; the dictionary; a training step of MoReID.

    Loss and gradients of 256 queries, 16 images an identity, of 2,048 numbers each, against dictionaries of several
    sizes, and their ratio to the product of queries and keys. Measured where the process keeps freed memory, as
    trainings do and as the figures are, and on a CPU also where it does not. Training steps, and what MoReID adds to
    them, are in ratio to a step of a baseline with the HE loss.
    """
    report = Report()
    largest = max(SIZES)
    cases = [_Case(largest), _Case(largest, trained=True), _Case(largest, metric="cosine"), *map(_Case, SIZES)]
    measured = {"kept": list(dict.fromkeys(cases))} | ({"freed": cases[:1]} if options.device == "cpu" else {})
    for memory, some in measured.items():
        seconds = _alone(partial(_loss_seconds, options, some), kept=memory == "kept")
        for case, times in seconds.items():
            report.rows += _rows(["loss", memory, case.size, str(case)], times, times[PRODUCT])
        report.figures |= _figures(seconds, "" if memory == "kept" else "_where_memory_is_freed")
    call = _alone(partial(_dictionary_seconds, options), kept=True)
    report.rows += _rows(["dictionary", "kept", largest, ""], call, None)
    of_moreid = _alone(partial(step_seconds, options, largest), kept=True)
    baseline, step = (of_moreid["training step"][f"{name}, HE"] for name in (BASELINE, MOREID))
    for what, times in of_moreid.items():
        report.rows += _rows([what, "kept", largest, ""], times, baseline)
    report.figures |= {"moreid.step_over_baseline": step / baseline, **dictionary_figures(largest, WIDTH)}
    return report


def _rows(where: Sequence[Any], seconds: Mapping[str, float], of_ratio: float | None) -> list[dict[str, Any]]:
    shared = dict(zip(("what", "memory", "keys", "case"), where, strict=True))
    return [
        {**shared, "how": name, "s": value, "ratio": None if of_ratio is None else value / of_ratio}
        for name, value in seconds.items()
    ]


def _figures(seconds: Seconds, suffix: str) -> dict[str, float]:
    largest = max(SIZES)
    times = seconds[_Case(largest)]
    figures = {f"speedup_over_{name}": times[how] / times[OURS] for name, how in (("scan", SCAN), ("dense", DENSE))}
    for name, case in (
        ("over_product", _Case(largest)),
        ("over_product_trained", _Case(largest, trained=True)),
        ("over_product_cosine", _Case(largest, metric="cosine")),
    ):
        if case in seconds:
            figures[name] = seconds[case][OURS] / seconds[case][PRODUCT]
    return {f"he.{name}{suffix}": value for name, value in figures.items()}


def _alone(measure: Callable[[], T], *, kept: bool) -> T:
    return measure_apart(measure, kept=kept, what="the HE loss and MoReID")


def _loss_seconds(options: Options, cases: Sequence[_Case]) -> Seconds:
    return {
        case: alternate(_runs(case, options.device), repeats=STEPS * options.repeats, device=options.device)
        for case in cases
    }


def _dictionary_seconds(options: Options) -> dict[str, float]:
    images = IDENTITIES * IMAGES
    call = dictionary_call(images, max(SIZES), WIDTH, options.device)
    return alternate(
        {f"{images} images of {WIDTH} numbers": call}, repeats=STEPS * options.repeats, device=options.device
    )


def _runs(case: _Case, device: str) -> dict[str, Step]:
    """Plain forms and the triplet loss stand beside ours in the case of the figures only."""
    queries, keys = _draw(case, device)
    rows = queries.detach()
    ours = projects.load("moreid").HardDistanceElasticLoss(metric=case.metric)
    runs: dict[str, Step] = {
        PRODUCT: lambda: rows @ keys.features.T,
        OURS: partial(loss_step, ours.compare, queries, keys),
    }
    if case == _Case(max(SIZES)):
        others = {TRIPLET: TripletLoss(margin=0.0).compare, DENSE: dense_loss, SCAN: scan_loss}
        runs |= {name: partial(loss_step, compare, queries, keys) for name, compare in others.items()}
    return runs


def _draw(case: _Case, device: str) -> tuple[Tensor, Keys]:
    """A batch, as the encoder has it, and a full dictionary that has taken it in, as the momentum encoder has it."""
    images = IDENTITIES * IMAGES
    pids = torch.arange(images, device=device) // IMAGES
    features = torch.randn(images, WIDTH, device=device)
    if case.trained:
        features = torch.randn(IDENTITIES, WIDTH, device=device)[pids] + 0.3 * features
    queries = (features + 0.1 * torch.randn_like(features)).requires_grad_()
    dictionary = NegativeDictionary(case.size, WIDTH).to(device)
    fill(dictionary, images)
    return queries, dictionary(features, pids)
