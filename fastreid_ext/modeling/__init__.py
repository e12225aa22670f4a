"""Models: backbones, heads, losses and what holds them together."""

from fastreid_ext.modeling.backbones import BACKBONES, build_backbone
from fastreid_ext.modeling.heads import HEADS, build_heads
from fastreid_ext.modeling.layers.cls import CLS_LAYERS, build_cls_layer
from fastreid_ext.modeling.layers.pooling import POOLINGS
from fastreid_ext.modeling.losses import LOSSES, build_criterion
from fastreid_ext.modeling.meta_arch import META_ARCHS, build_model

__all__ = [
    "BACKBONES",
    "CLS_LAYERS",
    "HEADS",
    "LOSSES",
    "META_ARCHS",
    "POOLINGS",
    "build_backbone",
    "build_cls_layer",
    "build_criterion",
    "build_heads",
    "build_model",
]
