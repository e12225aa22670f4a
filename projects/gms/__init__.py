"""AutoLoss-GMS: margin-based softmax losses as computational graphs, and the search for them (Gu et al., CVPR 2022)."""

from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.cls_layer import GMSSoftmax
from fastreid_ext.projects.gms.config import add_config
from fastreid_ext.projects.gms.graph import Graph, GraphError
from fastreid_ext.projects.gms.latex import to_latex
from fastreid_ext.projects.gms.loss import GMSLoss
from fastreid_ext.projects.gms.pairwise import GMSPairwiseLoss
from fastreid_ext.projects.gms.parser import ParseError, parse
from fastreid_ext.projects.gms.presets import PRESETS
from fastreid_ext.projects.gms.search import AutoLossGMS
from fastreid_ext.projects.gms.space import LossSpace

__all__ = [
    "PRESETS",
    "AutoLossGMS",
    "Candidate",
    "GMSLoss",
    "GMSPairwiseLoss",
    "GMSSoftmax",
    "Graph",
    "GraphError",
    "LossSpace",
    "ParseError",
    "add_config",
    "parse",
    "to_latex",
]
