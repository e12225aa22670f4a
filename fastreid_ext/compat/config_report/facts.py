"""What FastReID 1.4 has and how it counts, as far as a report on its configs needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = [
    "COMPUTED",
    "FAMILIES",
    "LOSSES",
    "LOSS_NODES",
    "NAMES",
    "OTHER_DEFAULTS",
    "PEOPLE",
    "PROJECT_KEYS",
    "SAMPLERS_OF_IDENTITIES",
    "SWITCHES",
    "TRAINING_SETS",
    "Family",
    "TrainingSet",
]


@dataclass(frozen=True)
class Family:
    """A family of backbones.

    Attributes:
        title: for people.
        reads: the switches of MODEL.BACKBONE that its builder reads.
        non_local: the depths that have non-local blocks.
        convolutional: whether its map has several positions.
    """

    title: str
    reads: frozenset[str]
    non_local: tuple[str, ...] = ()
    convolutional: bool = True


SWITCHES = (
    "LAST_STRIDE",
    "NORM",
    "WITH_IBN",
    "WITH_SE",
    "WITH_NL",
    "SIE_COE",
    "STRIDE_SIZE",
    "DROP_PATH_RATIO",
    "DROP_RATIO",
    "ATT_DROP_RATE",
)
"""Keys of MODEL.BACKBONE that some families read and others pass over."""

_STRIDED = frozenset({"LAST_STRIDE", "NORM"})

FAMILIES = {
    "build_resnet_backbone": Family(
        "ResNet", _STRIDED | {"WITH_IBN", "WITH_SE", "WITH_NL"}, non_local=("50x", "101x", "152x")
    ),
    "build_resnext_backbone": Family("ResNeXt", _STRIDED | {"WITH_IBN", "WITH_NL"}, non_local=("50x", "101x")),
    "build_resnest_backbone": Family("ResNeSt", _STRIDED),
    "build_regnet_backbone": Family("RegNet", _STRIDED),
    "build_effnet_backbone": Family("EfficientNet", _STRIDED),
    "build_repvgg_backbone": Family("RepVGG", _STRIDED),
    "build_osnet_backbone": Family("OSNet", frozenset({"NORM", "WITH_IBN"})),
    "build_mobilenetv2_backbone": Family("MobileNetV2", frozenset({"NORM"})),
    "build_mobilenetv3_backbone": Family("MobileNetV3", frozenset({"NORM"})),
    "build_shufflenetv2_backbone": Family("ShuffleNetV2", frozenset({"NORM"})),
    "build_vit_backbone": Family(
        "ViT",
        frozenset({"SIE_COE", "STRIDE_SIZE", "DROP_PATH_RATIO", "DROP_RATIO", "ATT_DROP_RATE"}),
        convolutional=False,
    ),
}

LOSSES = ("CrossEntropyLoss", "TripletLoss", "CircleLoss", "Cosface")
"""What a Baseline computes; MGN computes the first two. Other names are passed over."""

LOSS_NODES = {
    "CE": "CrossEntropyLoss",
    "FL": "FocalLoss",
    "TRI": "TripletLoss",
    "CIRCLE": "CircleLoss",
    "COSFACE": "Cosface",
}

SAMPLERS_OF_IDENTITIES = ("NaiveIdentitySampler", "BalancedIdentitySampler", "SetReWeightSampler")

NAMES: Mapping[str, tuple[str, ...]] = {
    "MODEL.META_ARCHITECTURE": ("Baseline", "MGN", "MoCo", "Distiller"),
    "MODEL.BACKBONE.NAME": tuple(FAMILIES),
    "MODEL.BACKBONE.NORM": ("BN", "syncBN", "GhostBN", "FrozenBN", "GN"),
    "MODEL.HEADS.NAME": ("EmbeddingHead", "ClasHead"),
    "MODEL.HEADS.NORM": ("BN", "syncBN", "GhostBN", "FrozenBN", "GN"),
    "MODEL.HEADS.NECK_FEAT": ("before", "after"),
    "MODEL.HEADS.POOL_LAYER": (
        "Identity",
        "Flatten",
        "GlobalAvgPool",
        "GlobalMaxPool",
        "GeneralizedMeanPooling",
        "GeneralizedMeanPoolingP",
        "FastGlobalAvgPool",
        "AdaptiveAvgMaxPool",
        "ClipGlobalAvgPool",
    ),
    "MODEL.HEADS.CLS_LAYER": ("Linear", "ArcSoftmax", "CosSoftmax", "CircleSoftmax"),
    "DATALOADER.SAMPLER_TRAIN": ("TrainingSampler", *SAMPLERS_OF_IDENTITIES, "ImbalancedDatasetSampler"),
    "SOLVER.SCHED": ("MultiStepLR", "CosineAnnealingLR"),
    "SOLVER.WARMUP_METHOD": ("linear", "constant", "exp"),
    "TEST.METRIC": ("cosine", "euclidean", "jaccard"),
}
"""What FastReID knows under each key that takes a name."""

OTHER_DEFAULTS: Mapping[str, Any] = {
    "MODEL.DEVICE": "cuda",
    "DATASETS.NAMES": ("Market1501",),
    "DATASETS.TESTS": ("Market1501",),
}
"""Its defaults where ours are others."""

COMPUTED = "COMPUTED_"
"""Begins keys that a run inserts."""

PROJECT_KEYS: Mapping[str, str] = {
    "MODEL.LOSSES.BCE.": "FastAttr",
    "TEST.THRES": "FastAttr",
    "DATASETS.REC_PATH": "FastFace",
    "MODEL.BACKBONE.DROPOUT": "FastFace",
    "MODEL.HEADS.PFC.": "FastFace",
    "DATASETS.RM_LT": "NAIC20",
    "TEST.SAVE_DISTMAT": "NAIC20",
    "TEST.DSR.": "PartialReID",
}
"""Keys that one of its projects adds."""


@dataclass(frozen=True)
class TrainingSet:
    """Training data of a data set.

    Attributes:
        images: that FastReID reads.
        identities: of these; 0 where sources disagree.
        images_here: that are read here; 0 for as many.
    """

    images: int
    identities: int = 0
    images_here: int = 0


_VEHICLE_ID, _VERI_WILD = TrainingSet(113_346, 13_164), TrainingSet(277_797, 30_671)

TRAINING_SETS = {
    "Market1501": TrainingSet(12_936, 751),
    "DukeMTMC": TrainingSet(16_522, 702),
    "MSMT17": TrainingSet(30_248, 1_041, images_here=32_621),
    "CUHK03": TrainingSet(7_368, 767),
    "VeRi": TrainingSet(37_778),
    "VehicleID": _VEHICLE_ID,
    "SmallVehicleID": _VEHICLE_ID,
    "MediumVehicleID": _VEHICLE_ID,
    "LargeVehicleID": _VEHICLE_ID,
    "VeRiWild": _VERI_WILD,
    "SmallVeRiWild": _VERI_WILD,
    "MediumVeRiWild": _VERI_WILD,
    "LargeVeRiWild": _VERI_WILD,
}

PEOPLE = ("Market1501", "DukeMTMC", "MSMT17", "CUHK03")
"""Of upright images."""
