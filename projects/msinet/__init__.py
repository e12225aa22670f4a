"""MSINet: Twins Contrastive Search of Multi-Scale Interaction for Object ReID (Gu et al., CVPR 2023)."""

from fastreid_ext.projects.msinet.alignment import SpatialAlignmentModule, spatial_alignment_loss
from fastreid_ext.projects.msinet.backbone import MSINet
from fastreid_ext.projects.msinet.checkpoint_filter import checkpoint_filter
from fastreid_ext.projects.msinet.config import add_config
from fastreid_ext.projects.msinet.genotype import PRESETS, parse_genotype
from fastreid_ext.projects.msinet.head import TwoBranchHead
from fastreid_ext.projects.msinet.interactions import INTERACTIONS
from fastreid_ext.projects.msinet.maximum_activations import maximum_activations
from fastreid_ext.projects.msinet.position_activation import PositionActivation
from fastreid_ext.projects.msinet.search import MSISupernet, TwinsContrastiveSearch

__all__ = [
    "INTERACTIONS",
    "PRESETS",
    "MSINet",
    "MSISupernet",
    "PositionActivation",
    "SpatialAlignmentModule",
    "TwinsContrastiveSearch",
    "TwoBranchHead",
    "add_config",
    "checkpoint_filter",
    "maximum_activations",
    "parse_genotype",
    "spatial_alignment_loss",
]
