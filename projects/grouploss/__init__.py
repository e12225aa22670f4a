"""Group Loss++: label propagation inside the batch (Elezi et al., TPAMI 2022)."""

from fastreid_ext.projects.grouploss.checkpoint_filter import checkpoint_filter
from fastreid_ext.projects.grouploss.config import add_config
from fastreid_ext.projects.grouploss.loss import GroupLoss
from fastreid_ext.projects.grouploss.refinement import refine
from fastreid_ext.projects.grouploss.similarity import pearson_similarities

__all__ = ["GroupLoss", "add_config", "checkpoint_filter", "pearson_similarities", "refine"]
