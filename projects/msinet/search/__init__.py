"""Twins-contrastive search for MSINet's interactions (section 3.1 of the paper)."""

from fastreid_ext.projects.msinet.search.memory import ClusterMemory
from fastreid_ext.projects.msinet.search.network import SearchNetwork
from fastreid_ext.projects.msinet.search.split import overlap_split
from fastreid_ext.projects.msinet.search.supernet import MixedInteraction, MSISupernet
from fastreid_ext.projects.msinet.search.supervision import SoftmaxSupervision, TwinsContrastive
from fastreid_ext.projects.msinet.search.trainer import TwinsContrastiveSearch

__all__ = [
    "ClusterMemory",
    "MSISupernet",
    "MixedInteraction",
    "SearchNetwork",
    "SoftmaxSupervision",
    "TwinsContrastive",
    "TwinsContrastiveSearch",
    "overlap_split",
]
