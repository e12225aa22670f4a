"""How older versions of FastReID called things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.reading import Given

__all__ = [
    "GONE",
    "OLD_DEFAULTS",
    "RENAMED",
    "VALUES",
    "frozen_of_open",
    "head_of_old_name",
    "sampler_of_old_switches",
]

RENAMED: Mapping[str, str] = {
    "SOLVER.FP16_ENABLED": "SOLVER.AMP.ENABLED",
    "SOLVER.AMP_ENABLED": "SOLVER.AMP.ENABLED",
    "INPUT.DO_FLIP": "INPUT.FLIP.ENABLED",
    "INPUT.FLIP_PROB": "INPUT.FLIP.PROB",
    "INPUT.DO_PAD": "INPUT.PADDING.ENABLED",
    "INPUT.PADDING_MODE": "INPUT.PADDING.MODE",
    "INPUT.PADDING": "INPUT.PADDING.SIZE",
    "INPUT.DO_AFFINE": "INPUT.AFFINE.ENABLED",
    "INPUT.DO_AUTOAUG": "INPUT.AUTOAUG.ENABLED",
    "INPUT.AUTOAUG_PROB": "INPUT.AUTOAUG.PROB",
    "INPUT.DO_AUGMIX": "INPUT.AUGMIX.ENABLED",
    "INPUT.AUGMIX_PROB": "INPUT.AUGMIX.PROB",
    "INPUT.REA.MEAN": "INPUT.REA.VALUE",
    "TEST.ROC_ENABLED": "TEST.ROC.ENABLED",
    "TEST.FLIP_ENABLED": "TEST.FLIP.ENABLED",
    "MODEL.HEADS.IN_FEAT": "MODEL.BACKBONE.FEAT_DIM",
    "MODEL.HEADS.REDUCTION_DIM": "MODEL.HEADS.EMBEDDING_DIM",
    "MODEL.LOSSES.CIRCLE.ALPHA": "MODEL.LOSSES.CIRCLE.GAMMA",
    "SOLVER.MAX_EPOCHS": "SOLVER.MAX_EPOCH",
}

VALUES: Mapping[str, Mapping[str, str]] = {
    "MODEL.BACKBONE.DEPTH": {depth: f"{depth}x" for depth in ("18", "34", "50", "101", "152", "200", "269")},
    "MODEL.HEADS.POOL_LAYER": {
        "avgpool": "GlobalAvgPool",
        "fastavgpool": "FastGlobalAvgPool",
        "maxpool": "GlobalMaxPool",
        "gempool": "GeneralizedMeanPooling",
        "gempoolP": "GeneralizedMeanPoolingP",
        "avgmaxpool": "AdaptiveAvgMaxPool",
        "clipavgpool": "ClipGlobalAvgPool",
        "identity": "Identity",
        "flatten": "Flatten",
    },
    "MODEL.HEADS.CLS_LAYER": {
        "linear": "Linear",
        "arcface": "ArcSoftmax",
        "arcSoftmax": "ArcSoftmax",
        "circle": "CircleSoftmax",
        "circleSoftmax": "CircleSoftmax",
        "amSoftmax": "CosSoftmax",
        "cosSoftmax": "CosSoftmax",
    },
    "SOLVER.SCHED": {
        "WarmupMultiStepLR": "MultiStepLR",
        "WarmupCosineAnnealingLR": "CosineAnnealingLR",
        "DelayedCosineAnnealingLR": "CosineAnnealingLR",
    },
}

OLD_DEFAULTS: Mapping[str, Any] = {
    "MODEL.BACKBONE.PRETRAIN": True,
    "MODEL.HEADS.WITH_BNNECK": True,
    "MODEL.HEADS.MARGIN": 0.15,
    "MODEL.HEADS.SCALE": 128.0,
    "MODEL.LOSSES.TRI.HARD_MINING": True,
    "INPUT.FLIP.ENABLED": True,
    "INPUT.PADDING.ENABLED": True,
    "INPUT.AUTOAUG.PROB": 0.1,
    "INPUT.REA.VALUE": [151.98, 142.29, 126.735],
    "DATALOADER.SAMPLER_TRAIN": "BalancedIdentitySampler",
    "SOLVER.WEIGHT_DECAY_BIAS": 0.0,
}
"""Of v1.0 to v1.2, where those of 1.4 are others."""

_NOTHING_LEFT = "FastReID 1.4 has no such key, and neither has this toolbox: it is left out."

GONE: Mapping[str, str] = {
    "MODEL.BACKBONE.NORM_SPLIT": _NOTHING_LEFT,
    "MODEL.HEADS.NORM_SPLIT": _NOTHING_LEFT,
    "MODEL.LOSSES.TRI.USE_COSINE_DIST": "Was replaced by MODEL.LOSSES.TRI.NORM_FEAT: set that if it is on.",
    "MODEL.OPEN_LAYERS": "Named what is not frozen; set MODEL.FREEZE_LAYERS, which names what is.",
    "SOLVER.SWA.": "FastReID 1.4 averages no weights; here SOLVER.EMA does.",
    "PRINT_MODEL": _NOTHING_LEFT,
}


def head_of_old_name(given: dict[str, Given]) -> list[Finding]:
    """Puts EmbeddingHead with its switches in place of the three heads that it replaced."""
    old = given.get("MODEL.HEADS.NAME")
    if old is None or old.value not in ("BNneckHead", "LinearHead", "ReductionHead"):
        return []
    # Only a ReductionHead read it.
    embedding = given.pop("MODEL.HEADS.EMBEDDING_DIM", Given(512, old.source, old.rank))
    new: dict[str, Any] = {"MODEL.HEADS.NAME": "EmbeddingHead", "MODEL.HEADS.WITH_BNNECK": old.value != "LinearHead"}
    if old.value == "ReductionHead":
        new["MODEL.HEADS.EMBEDDING_DIM"] = embedding.value
    given.update({key: Given(value, old.source, old.rank) for key, value in new.items()})
    named = ", ".join(f"{key.removeprefix('MODEL.HEADS.')} {value}" for key, value in new.items())
    return [Finding(f"MODEL.HEADS.NAME {old.value}", f"Is {named} in FastReID 1.4.")]


def frozen_of_open(given: dict[str, Given]) -> list[Finding]:
    """FREEZE_LAYERS in place of OPEN_LAYERS, where only the heads were open."""
    old = given.get("MODEL.OPEN_LAYERS")
    if old is None or old.value not in ("heads", ["heads"]):
        return []
    del given["MODEL.OPEN_LAYERS"]
    given.setdefault("MODEL.FREEZE_LAYERS", Given(["backbone"], old.source, old.rank))
    return [Finding("MODEL.OPEN_LAYERS heads", "Is MODEL.FREEZE_LAYERS [backbone] in FastReID 1.4.")]


def sampler_of_old_switches(given: dict[str, Given]) -> list[Finding]:
    """SAMPLER_TRAIN in place of PK_SAMPLER and NAIVE_WAY."""
    pairs, naive = (given.pop(f"DATALOADER.{name}", None) for name in ("PK_SAMPLER", "NAIVE_WAY"))
    written = pairs or naive
    if written is None:
        return []
    of_identities = "NaiveIdentitySampler" if naive is not None and naive.value else "BalancedIdentitySampler"
    sampler = of_identities if pairs is None or pairs.value else "TrainingSampler"
    given.setdefault("DATALOADER.SAMPLER_TRAIN", Given(sampler, written.source, written.rank))
    return [Finding("DATALOADER.PK_SAMPLER, NAIVE_WAY", f"Are DATALOADER.SAMPLER_TRAIN {sampler} in FastReID 1.4.")]
