"""MoReID: a momentum dictionary of negatives, and the Hard-distance Elastic loss (Lee et al. 2022)."""

from fastreid_ext.modeling.layers.dictionary import NegativeDictionary
from fastreid_ext.projects.moreid.config import add_config
from fastreid_ext.projects.moreid.loss import HardDistanceElasticLoss
from fastreid_ext.projects.moreid.meta_arch import MoReID
from fastreid_ext.projects.moreid.momentum_encoder import MomentumEncoder
from fastreid_ext.projects.moreid.peers import (
    ClassTripletLoss,
    InfoNCELoss,
    NPairLoss,
    RankedListLoss,
    WeightedTripletLoss,
)

__all__ = [
    "ClassTripletLoss",
    "HardDistanceElasticLoss",
    "InfoNCELoss",
    "MoReID",
    "MomentumEncoder",
    "NPairLoss",
    "NegativeDictionary",
    "RankedListLoss",
    "WeightedTripletLoss",
    "add_config",
]
