"""Figures that come out otherwise here than in FastReID."""

from __future__ import annotations

from collections.abc import Iterator

from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.old_config import OldConfig
from fastreid_ext.compat.config_report.rules import difference

__all__ = ["EVERYWHERE"]

EVERYWHERE = (
    "The best model is that of the highest mAP (TEST.BEST_METRIC), in FastReID of the highest mean of mAP and Rank-1.",
    "Images are augmented as batches by threads (DATALOADER.NUM_WORKERS), in FastReID one by one by processes.",
    "On several GPUs, losses that compare images see the whole batch, in FastReID each GPU its part.",
    "docs/from_fastreid.md has the whole list.",
)
"""What holds for every config."""


@difference
def flip_test(old: OldConfig) -> Iterator[Finding]:
    """It normalises mirrored images twice."""
    if old.cfg.TEST.FLIP.ENABLED:
        yield Finding(
            "TEST.FLIP.ENABLED",
            "FastReID normalises images in place, so that the mirrored ones are normalised twice; here once. Figures "
            "differ.",
        )


@difference
def query_expansion(old: OldConfig) -> Iterator[Finding]:
    """It replaces the plain figures."""
    if not old.cfg.TEST.AQE.ENABLED:
        return
    whole = float(old.cfg.TEST.AQE.ALPHA).is_integer()
    negative = "weighs by its power" if whole else "becomes NaN with this ALPHA"
    yield Finding(
        "TEST.AQE.ENABLED",
        f"FastReID reports the expanded figures in place of the plain ones; here they are a row beside them. There, a "
        f"negative similarity {negative}; here it counts as none.",
    )


@difference
def re_ranking(old: OldConfig) -> Iterator[Finding]:
    """It searches one neighbour fewer and weighs in another way."""
    if old.cfg.TEST.RERANK.ENABLED:
        yield Finding(
            "TEST.RERANK.ENABLED",
            "FastReID searches one neighbour fewer than K1, weighs otherwise than the paper, and reports the re-ranked "
            "figures alone; here the paper's formulas give a row beside the plain one.",
            {"COMPAT.RERANK": True},
        )


@difference
def both_at_once(old: OldConfig) -> Iterator[Finding]:
    """It expands first and re-ranks what comes out."""
    if old.cfg.TEST.RERANK.ENABLED and old.cfg.TEST.AQE.ENABLED:
        yield Finding(
            "TEST.AQE.ENABLED, TEST.RERANK.ENABLED",
            "FastReID reports only the figures of both together; here there is a row of each and one of both.",
        )


@difference
def curves(old: OldConfig) -> Iterator[Finding]:
    """Its genuine pairs are the impostors."""
    if old.cfg.TEST.ROC.ENABLED:
        yield Finding(
            "TEST.ROC.ENABLED",
            "FastReID exchanges genuine and impostor pairs and takes the nearest false-positive rate; here genuine "
            "pairs are the positives, and the rate is not exceeded. The figures cannot be compared.",
        )


@difference
def trials_of_vehicleid(old: OldConfig) -> Iterator[Finding]:
    """It draws one split, anew each time, and applies the camera rule to image numbers."""
    if any(name.endswith("VehicleID") for name in old.cfg.DATASETS.TESTS):
        yield Finding(
            "DATASETS.TESTS",
            "FastReID draws query and gallery of VehicleID once, in another way in each run, and takes image numbers "
            "for cameras; here ten seeded draws are averaged, and there are no cameras. Its published figures are of "
            "one draw.",
        )


@difference
def jaccard(old: OldConfig) -> Iterator[Finding]:
    """It can rank by the Jaccard distance alone."""
    if old.cfg.TEST.METRIC == "jaccard":
        yield Finding(
            "TEST.METRIC",
            "Is no metric here: the figures with TEST.RERANK.LAMBDA 0 are those of the Jaccard distance.",
        )


@difference
def evaluation_at_the_end(old: OldConfig) -> Iterator[Finding]:
    """Its period is a divisor."""
    if old.cfg.TEST.EVAL_PERIOD == 0:
        yield Finding(
            "TEST.EVAL_PERIOD",
            "Ends a training of FastReID with a division by zero; here 0 evaluates once, at the end.",
        )
