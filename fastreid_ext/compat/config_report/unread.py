"""Keys that nothing reads in a config, because another key turns off what would."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fastreid_ext.compat.config_report.facts import LOSS_NODES, LOSSES, SAMPLERS_OF_IDENTITIES, SWITCHES
from fastreid_ext.compat.config_report.old_config import OldConfig

__all__ = ["Unread", "unread_keys"]

_SWITCHED = (
    "INPUT.CROP",
    "INPUT.FLIP",
    "INPUT.PADDING",
    "INPUT.CJ",
    "INPUT.AUTOAUG",
    "INPUT.AUGMIX",
    "INPUT.REA",
    "INPUT.RPT",
    "SOLVER.CLIP_GRADIENTS",
    "TEST.AQE",
    "TEST.RERANK",
    "TEST.PRECISE_BN",
    "KD.EMA",
)
"""Sections with a key ENABLED."""


@dataclass(frozen=True)
class Unread:
    """A key that nothing reads.

    Attributes:
        key: the key.
        switch: the key that turns it off.
        why: a sentence.
    """

    key: str
    switch: str
    why: str


def unread_keys(old: OldConfig) -> list[Unread]:
    """All keys, given or not, that FastReID does not read in this config."""
    return [*_of_losses(old), *_of_backbone(old), *_of_heads(old), *_of_data(old), *_of_solver(old), *_switched(old)]


def _of_losses(old: OldConfig) -> Iterator[Unread]:
    names, switch = old.cfg.MODEL.LOSSES.NAME, "MODEL.LOSSES.NAME"
    for node, loss in LOSS_NODES.items():
        never = "FastReID never computes it" if loss not in LOSSES else f"{switch} does not list it"
        if loss not in names or loss not in LOSSES:
            for key in old.cfg.MODEL.LOSSES[node]:
                yield Unread(f"MODEL.LOSSES.{node}.{key}", switch, f"Belongs to {loss}, but {never}.")
    if "CrossEntropyLoss" in names and old.cfg.MODEL.LOSSES.CE.EPSILON >= 0:
        why = "Is read only where MODEL.LOSSES.CE.EPSILON is negative, which smooths each image by itself."
        yield Unread("MODEL.LOSSES.CE.ALPHA", "MODEL.LOSSES.CE.EPSILON", why)


def _of_backbone(old: OldConfig) -> Iterator[Unread]:
    backbone, family = old.cfg.MODEL.BACKBONE, old.family
    if not backbone.PRETRAIN:
        why = "Is read only where MODEL.BACKBONE.PRETRAIN is on; the backbone starts at random."
        yield Unread("MODEL.BACKBONE.PRETRAIN_PATH", "MODEL.BACKBONE.PRETRAIN", why)
    if family is None:
        return
    for switch in SWITCHES:
        if switch not in family.reads:
            why = f"{family.title} has no such option in FastReID, which passes over it."
            yield Unread(f"MODEL.BACKBONE.{switch}", "MODEL.BACKBONE.NAME", why)
    if "WITH_NL" in family.reads and backbone.DEPTH not in family.non_local:
        why = f"{family.title} {backbone.DEPTH} has no places for non-local blocks."
        yield Unread("MODEL.BACKBONE.WITH_NL", "MODEL.BACKBONE.DEPTH", why)
    if "WITH_NL" in family.reads and old.cfg.MODEL.META_ARCHITECTURE == "MGN":
        why = "MGN takes the stages of the backbone without the non-local blocks between them."
        yield Unread("MODEL.BACKBONE.WITH_NL", "MODEL.META_ARCHITECTURE", why)


def _of_heads(old: OldConfig) -> Iterator[Unread]:
    model = old.cfg.MODEL
    if model.HEADS.CLS_LAYER == "Linear":
        yield Unread("MODEL.HEADS.MARGIN", "MODEL.HEADS.CLS_LAYER", "CLS_LAYER Linear has no margin.")
    if model.META_ARCHITECTURE != "MoCo":
        yield Unread("MODEL.QUEUE_SIZE", "MODEL.META_ARCHITECTURE", "Only META_ARCHITECTURE MoCo has a queue.")
    if model.META_ARCHITECTURE != "Distiller":
        for key in ("KD.MODEL_CONFIG", "KD.MODEL_WEIGHTS", "KD.EMA.ENABLED", "KD.EMA.MOMENTUM"):
            yield Unread(key, "MODEL.META_ARCHITECTURE", "Only META_ARCHITECTURE Distiller has teachers.")


def _of_data(old: OldConfig) -> Iterator[Unread]:
    sampler, switch = old.cfg.DATALOADER.SAMPLER_TRAIN, "DATALOADER.SAMPLER_TRAIN"
    if sampler not in SAMPLERS_OF_IDENTITIES:
        yield Unread("DATALOADER.NUM_INSTANCE", switch, f"{sampler} does not group images by identity.")
    if sampler != "SetReWeightSampler":
        yield Unread("DATALOADER.SET_WEIGHT", switch, "Only SetReWeightSampler has weights.")


def _of_solver(old: OldConfig) -> Iterator[Unread]:
    solver = old.cfg.SOLVER
    if solver.SCHED == "CosineAnnealingLR":
        for key in ("STEPS", "GAMMA"):
            yield Unread(f"SOLVER.{key}", "SOLVER.SCHED", "A cosine has no steps.")
    if solver.SCHED == "MultiStepLR":
        yield Unread("SOLVER.ETA_MIN_LR", "SOLVER.SCHED", "MultiStepLR has no lowest rate.")
    if solver.OPT != "SGD":
        for key in ("MOMENTUM", "NESTEROV"):
            yield Unread(f"SOLVER.{key}", "SOLVER.OPT", f"Is given to SGD only; {solver.OPT} keeps PyTorch's defaults.")
    if not solver.WARMUP_ITERS:
        for key in ("WARMUP_FACTOR", "WARMUP_METHOD"):
            yield Unread(f"SOLVER.{key}", "SOLVER.WARMUP_ITERS", "There is no warm-up: SOLVER.WARMUP_ITERS is 0.")


def _switched(old: OldConfig) -> Iterator[Unread]:
    for section in _SWITCHED:
        node = old.cfg
        for part in section.split("."):
            node = node[part]
        if not node.ENABLED:
            for key in node:
                if key != "ENABLED":
                    yield Unread(f"{section}.{key}", f"{section}.ENABLED", f"{section}.ENABLED is off.")
