"""Lengths of training in older versions of FastReID: iterations in v0.1, epochs in v1.0, both since."""

from __future__ import annotations

from typing import Any

from fastreid_ext.compat.config_report.facts import TRAINING_SETS
from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.reading import Given

__all__ = ["translate_periods"]

ITERATIONS_FROM = 500
"""A MAX_ITER above this many counts iterations: nobody trained for so many epochs."""

_EPOCHS_NOW = ("SOLVER.STEPS", "SOLVER.DELAY_EPOCHS", "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD")
_ITERATIONS_NOW = ("SOLVER.WARMUP_ITERS", "SOLVER.FREEZE_ITERS")


def translate_periods(given: dict[str, Given]) -> list[Finding]:
    """Puts MAX_EPOCH, DELAY_EPOCHS and WARMUP_ITERS in place of MAX_ITER, DELAY_ITERS and WARMUP_EPOCHS."""
    per_epoch = _steps_per_epoch(given)
    findings = []
    if "SOLVER.WARMUP_EPOCHS" in given:
        findings.append(_warmup_epochs(given, per_epoch))
    if "SOLVER.DELAY_ITERS" in given:
        given.setdefault("SOLVER.DELAY_EPOCHS", given.pop("SOLVER.DELAY_ITERS"))
        findings.append(Finding("SOLVER.DELAY_ITERS", "Is SOLVER.DELAY_EPOCHS in FastReID 1.4."))
    if "SOLVER.MAX_ITER" not in given:
        return findings
    length = given["SOLVER.MAX_ITER"]
    if not isinstance(length.value, int):
        return findings
    given.setdefault("SOLVER.MAX_EPOCH", length)
    del given["SOLVER.MAX_ITER"]
    in_iterations = length.value > ITERATIONS_FROM
    changed = (*_EPOCHS_NOW, "SOLVER.MAX_EPOCH") if in_iterations else _ITERATIONS_NOW
    counted = "iterations" if in_iterations else "epochs"
    if not per_epoch:
        text = (
            f"Counts {counted}, and so do {', '.join(changed)}; how many make an epoch is not known for this data set"
        )
        return [*findings, Finding("SOLVER.MAX_ITER", f"{text}: set {', '.join(changed)} by hand.")]
    for key in changed:
        if key in given:
            old = given[key]
            factor = 1 / per_epoch if in_iterations else per_epoch
            given[key] = Given(_scaled(old.value, factor), old.source, old.rank)
    told = ", ".join(
        f"{key} {given[key].value}" for key in dict.fromkeys(("SOLVER.MAX_EPOCH", *changed)) if key in given
    )
    text = f"Counts {counted}; with {per_epoch:,} iterations an epoch it is in FastReID 1.4: {told}."
    return [*findings, Finding(f"SOLVER.MAX_ITER {length.value}", text)]


def _warmup_epochs(given: dict[str, Given], per_epoch: int) -> Finding:
    old = given.pop("SOLVER.WARMUP_EPOCHS")
    if not per_epoch:
        return Finding("SOLVER.WARMUP_EPOCHS", "Counts epochs; set SOLVER.WARMUP_ITERS, which counts iterations.")
    given["SOLVER.WARMUP_ITERS"] = Given(_scaled(old.value, per_epoch), old.source, old.rank)
    return Finding("SOLVER.WARMUP_EPOCHS", f"Is SOLVER.WARMUP_ITERS {given['SOLVER.WARMUP_ITERS'].value} here.")


def _steps_per_epoch(given: dict[str, Given]) -> int:
    """0 where a data set is not known."""
    names = given.get("DATASETS.NAMES", Given(("Market1501",), "", 0)).value
    names = [name.strip(" '\"") for name in names.strip("() ").split(",")] if isinstance(names, str) else names
    sizes = [TRAINING_SETS[name].images if name in TRAINING_SETS else 0 for name in names if name]
    batch = given.get("SOLVER.IMS_PER_BATCH", Given(64, "", 0)).value
    return sum(sizes) // int(batch) if sizes and all(sizes) else 0


def _scaled(value: Any, factor: float) -> Any:
    """A number of epochs or iterations, or a list of them; none becomes 0 that was not."""
    if isinstance(value, (list, tuple)):
        return [_scaled(item, factor) for item in value]
    if not isinstance(value, (int, float)):
        return value
    return max(1, round(value * factor)) if value else 0
