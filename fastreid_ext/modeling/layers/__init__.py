"""Layers that backbones and heads share."""

from fastreid_ext.modeling.layers.ibn import IBN
from fastreid_ext.modeling.layers.init import init_convs
from fastreid_ext.modeling.layers.non_local import NonLocal
from fastreid_ext.modeling.layers.norm import (
    NORMS,
    FrozenBatchNorm,
    GhostBatchNorm,
    SyncBatchNorm,
    build_norm,
    convert_norms,
    is_linear_in_evaluation,
)
from fastreid_ext.modeling.layers.pooling import (
    POOLINGS,
    AdaptiveAvgMaxPool,
    ClipGlobalAvgPool,
    Flatten,
    GeneralizedMeanPooling,
    GeneralizedMeanPoolingP,
    GlobalAvgPool,
    GlobalMaxPool,
    Identity,
    MixedPool,
    build_pooling,
)
from fastreid_ext.modeling.layers.se import SELayer
from fastreid_ext.modeling.layers.split_attention import SplitAttentionConv

__all__ = [
    "IBN",
    "NORMS",
    "POOLINGS",
    "AdaptiveAvgMaxPool",
    "ClipGlobalAvgPool",
    "Flatten",
    "FrozenBatchNorm",
    "GeneralizedMeanPooling",
    "GeneralizedMeanPoolingP",
    "GhostBatchNorm",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "Identity",
    "MixedPool",
    "NonLocal",
    "SELayer",
    "SplitAttentionConv",
    "SyncBatchNorm",
    "build_norm",
    "build_pooling",
    "convert_norms",
    "init_convs",
    "is_linear_in_evaluation",
]
