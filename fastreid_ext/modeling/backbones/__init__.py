"""Networks that turn images into feature maps."""

from fastreid_ext.modeling.backbones.base import Backbone, OfficialWeights
from fastreid_ext.modeling.backbones.bn_inception import BNInception
from fastreid_ext.modeling.backbones.densenet import DenseNet
from fastreid_ext.modeling.backbones.effnet import EfficientNet
from fastreid_ext.modeling.backbones.mobilenetv2 import MobileNetV2
from fastreid_ext.modeling.backbones.mobilenetv3 import MobileNetV3
from fastreid_ext.modeling.backbones.osnet import OSNet
from fastreid_ext.modeling.backbones.pretrained import PretrainedError, load_pretrained
from fastreid_ext.modeling.backbones.registry import BACKBONES, build_backbone
from fastreid_ext.modeling.backbones.regnet import RegNet
from fastreid_ext.modeling.backbones.repvgg import RepVGG, reparameterized
from fastreid_ext.modeling.backbones.resnest import ResNeSt
from fastreid_ext.modeling.backbones.resnet import ResNet
from fastreid_ext.modeling.backbones.resnext import ResNeXt
from fastreid_ext.modeling.backbones.shufflenetv2 import ShuffleNetV2
from fastreid_ext.modeling.backbones.timm_zoo import TimmBackbone
from fastreid_ext.modeling.backbones.vit import ViT

__all__ = [
    "BACKBONES",
    "BNInception",
    "Backbone",
    "DenseNet",
    "EfficientNet",
    "MobileNetV2",
    "MobileNetV3",
    "OSNet",
    "OfficialWeights",
    "PretrainedError",
    "RegNet",
    "RepVGG",
    "ResNeSt",
    "ResNeXt",
    "ResNet",
    "ShuffleNetV2",
    "TimmBackbone",
    "ViT",
    "build_backbone",
    "load_pretrained",
    "reparameterized",
]
