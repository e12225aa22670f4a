"""Losses: plain modules, and the criterion that a config makes of them."""

from fastreid_ext.modeling.losses.base import ClassificationLoss, Loss, MapLoss, PairwiseLoss, check_inputs
from fastreid_ext.modeling.losses.circle import CircleLoss
from fastreid_ext.modeling.losses.cosface import Cosface
from fastreid_ext.modeling.losses.criterion import Criterion, build_criterion
from fastreid_ext.modeling.losses.cross_entropy import CrossEntropyLoss
from fastreid_ext.modeling.losses.focal import FocalLoss
from fastreid_ext.modeling.losses.keyed import KeyedLoss
from fastreid_ext.modeling.losses.metric_learning import MetricLearningLoss
from fastreid_ext.modeling.losses.registry import LOSSES
from fastreid_ext.modeling.losses.triplet import TripletLoss
from fastreid_ext.modeling.losses.triplet_all import TripletAllLoss

__all__ = [
    "LOSSES",
    "CircleLoss",
    "ClassificationLoss",
    "Cosface",
    "Criterion",
    "CrossEntropyLoss",
    "FocalLoss",
    "KeyedLoss",
    "Loss",
    "MapLoss",
    "MetricLearningLoss",
    "PairwiseLoss",
    "TripletAllLoss",
    "TripletLoss",
    "build_criterion",
    "check_inputs",
]
