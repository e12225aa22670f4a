"""Networks that turn images into feature maps."""

from fastreid_ext.modeling.backbones.base import Backbone, OfficialWeights
from fastreid_ext.modeling.backbones.bn_inception import BNInception
from fastreid_ext.modeling.backbones.densenet import DenseNet
from fastreid_ext.modeling.backbones.osnet import OSNet
from fastreid_ext.modeling.backbones.pretrained import PretrainedError, load_pretrained
from fastreid_ext.modeling.backbones.registry import BACKBONES, build_backbone
from fastreid_ext.modeling.backbones.resnet import ResNet
from fastreid_ext.modeling.backbones.timm_zoo import TimmBackbone

__all__ = [
    "BACKBONES",
    "BNInception",
    "Backbone",
    "DenseNet",
    "OSNet",
    "OfficialWeights",
    "PretrainedError",
    "ResNet",
    "TimmBackbone",
    "build_backbone",
    "load_pretrained",
]
