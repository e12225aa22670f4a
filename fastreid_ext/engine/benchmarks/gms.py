"""Screening and toy task of random losses: many at once against one at a time with autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np

from fastreid_ext import projects
from fastreid_ext.engine.benchmarks.gms_layer import compare_layers
from fastreid_ext.engine.benchmarks.plain_gms import plain_accuracy, plain_stage
from fastreid_ext.engine.benchmarks.registry import BENCHMARKS, Options, Report
from fastreid_ext.engine.benchmarks.timing import alternate
from fastreid_ext.utils.threads import single_threaded_pool

__all__ = ["gms"]

CANDIDATES = 20_000
TOY_TASKS = 600
PLAIN_CANDIDATES = 2000
PLAIN_TOY_TASKS = 40
TOY_ACCURACY = 0.9
OPERATIONS = 10
OURS, PLAIN = "ours", "one at a time, autograd"


@BENCHMARKS.register()
def gms(options: Options) -> Report:
    """Searched losses: cost as a layer, random ones screened and trained on the toy task a second, shares rejected.

    The search's part runs on the CPU: ours on as many threads as torch has, autograd on one, where it is quickest.
    What is compared are losses of at most ten operations.
    """
    report = Report()
    compare_layers(report, options)
    graphs = _part("construct").construct
    makes = {
        f"at most {OPERATIONS} operations": partial(graphs, num_operations=OPERATIONS, exact=False),
        f"just {OPERATIONS} operations": partial(graphs, num_operations=OPERATIONS, exact=True),
    }
    make = next(iter(makes.values()))
    losses, verdicts = _part("rejection").Screening().sample(np.random.default_rng(0), CANDIDATES, make=make)
    passed = [losses.candidate(k) for k, verdict in enumerate(verdicts) if not verdict.reason][:TOY_TASKS]
    _compare(report, "screening", _screening_runs(make), options.repeats)
    _compare(report, "toy task", _toy_runs(passed), options.repeats)
    for how, function in makes.items():
        report.rows += _rejections(how, function)
    rates = {(row["what"], row["how"]): row["per s"] for row in report.rows if "per s" in row}
    for figure, what in (("candidates", "screening"), ("toy_tasks", "toy task")):
        report.figures[f"gms.{figure}_per_second"] = rates[what, OURS]
        report.figures[f"gms.{figure}_speedup"] = rates[what, OURS] / rates[what, PLAIN]
    return report


def _part(name: str) -> ModuleType:
    return import_module(f"{projects.load('gms').__name__}.{name}")


def _compare(report: Report, what: str, runs: dict[str, tuple[int, Callable[[], object]]], repeats: int) -> None:
    seconds = alternate({how: run for how, (_, run) in runs.items()}, repeats=repeats, device="cpu")
    for how, (number, _) in runs.items():
        report.rows.append(_row(what, how, number, s=seconds[how], rate=number / seconds[how]))


def _row(
    what: str, how: str, number: int, *, s: float | None = None, rate: float | None = None, share: float | None = None
) -> dict[str, Any]:
    return {"what": what, "how": how, "losses": number, "s": s, "per s": rate, "share": share}


def _screening_runs(make: Callable[..., Any]) -> dict[str, tuple[int, Callable[[], object]]]:
    screening, primitives = _part("rejection").Screening(), _part("primitives").PRIMITIVES
    candidate = _part("candidate").Candidate

    def plain() -> list[str]:
        rng = np.random.default_rng(0)
        losses = (
            candidate(make(rng, 1).graph(0), make(rng, 1).graph(0), 0.5 * float(rng.integers(1, 21)))
            for _ in range(PLAIN_CANDIDATES)
        )
        return [plain_stage(loss, primitives) for loss in losses]

    return {
        OURS: (CANDIDATES, lambda: screening.sample(np.random.default_rng(0), CANDIDATES, make=make)),
        PLAIN: (PLAIN_CANDIDATES, partial(_on_one_thread, plain)),
    }


def _toy_runs(candidates: Sequence[Any]) -> dict[str, tuple[int, Callable[[], object]]]:
    task, primitives = _part("toy_task").ToyTask(), _part("primitives").PRIMITIVES
    few = candidates[:PLAIN_TOY_TASKS]

    def plain() -> list[float]:
        return [plain_accuracy(candidate, primitives, task) for candidate in few]

    return {
        OURS: (len(candidates), lambda: task.accuracies(candidates)),
        PLAIN: (len(few), partial(_on_one_thread, plain)),
    }


def _on_one_thread(run: Callable[[], object]) -> object:
    """Torch's threads cost more than such small tensors: up to 60 times."""
    with single_threaded_pool(1) as pool:
        return pool.submit(run).result()


def _rejections(how: str, make: Callable[..., Any]) -> list[dict[str, Any]]:
    """Shares of random losses that each stage rejects, of all, and that pass."""
    losses, verdicts = _part("rejection").Screening().sample(np.random.default_rng(1), CANDIDATES, make=make)
    stages = [verdict.reason.partition(":")[0] for verdict in verdicts]
    passed = [losses.candidate(k) for k, stage in enumerate(stages) if not stage]
    trained = passed[:TOY_TASKS]
    accuracies = np.array(_part("toy_task").ToyTask().accuracies(trained))
    accepted = len(passed) / len(stages) * float((accuracies >= TOY_ACCURACY).mean())
    shares = {stage: stages.count(stage) / len(stages) for stage in ("values", "properties")}
    shares |= {"toy task": len(passed) / len(stages) - accepted}
    rows = [_row(f"rejected by {stage}", how, CANDIDATES, share=share) for stage, share in shares.items()]
    return [*rows, _row("accepted", how, CANDIDATES, share=accepted)]
