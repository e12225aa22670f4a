"""The losses that the Hard-distance Elastic loss is compared with; importing them registers them."""

from fastreid_ext.projects.moreid.peers.c_triplet import ClassTripletLoss
from fastreid_ext.projects.moreid.peers.info_nce import InfoNCELoss
from fastreid_ext.projects.moreid.peers.n_pair import NPairLoss
from fastreid_ext.projects.moreid.peers.ranked_list import RankedListLoss
from fastreid_ext.projects.moreid.peers.w_triplet import WeightedTripletLoss

__all__ = ["ClassTripletLoss", "InfoNCELoss", "NPairLoss", "RankedListLoss", "WeightedTripletLoss"]
