"""AdaSP: sparse pair-wise losses for object re-identification (Zhou et al., CVPR 2023)."""

from fastreid_ext.projects.adasp.checkpoint_filter import checkpoint_filter
from fastreid_ext.projects.adasp.config import add_config
from fastreid_ext.projects.adasp.loss import AdaSPLoss, SPHLoss, SPLHLoss

__all__ = ["AdaSPLoss", "SPHLoss", "SPLHLoss", "add_config", "checkpoint_filter"]
