"""MSINet: Twins Contrastive Search of Multi-Scale Interaction for Object ReID (Gu et al., CVPR 2023)."""

from fastreid_ext.projects.msinet.backbone import MSINet
from fastreid_ext.projects.msinet.config import add_config
from fastreid_ext.projects.msinet.genotype import PRESETS, parse_genotype
from fastreid_ext.projects.msinet.head import TwoBranchHead
from fastreid_ext.projects.msinet.interactions import INTERACTIONS

__all__ = ["INTERACTIONS", "PRESETS", "MSINet", "TwoBranchHead", "add_config", "parse_genotype"]
