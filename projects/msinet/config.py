"""The project's config keys."""

from __future__ import annotations

from fastreid_ext.config import CfgNode

__all__ = ["add_config"]


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.MSINET`, `MODEL.LOSSES.SAM` and `SEARCH.ARCH`."""
    # Of the backbone MSINet and of TwoBranchHead.
    cfg.MODEL.MSINET = _network()
    # Of SpatialAlignmentLoss.
    cfg.MODEL.LOSSES.SAM = _alignment()
    # How an architecture is searched for: tools/search_arch.py.
    cfg.SEARCH.ARCH = _search()


def _network() -> CfgNode:
    node = CfgNode()
    # Twelve letters, two interactions a cell (N, E, G, A), or a preset: MSINet, MSINet-VR, MSINet-S.
    node.GENOTYPE = "MSINet"
    # Light convolutions of the two branches, the scale ratio of the paper's Fig. 5d.
    node.DEPTHS = [1, 3]
    # How the branches become one map: sum, minus or mul (Fig. 5c).
    node.FUSION = "sum"
    # Embedding "before" the neck, "after" it, or "auto": before it on test sets of the training domain, after it on
    # others.
    node.TEST_FEAT = "auto"
    return node


def _alignment() -> CfgNode:
    node = CfgNode()
    # Table 5: positives, negatives, unified, separated, or pam-self.
    node.ALIGN = "pam-self"
    # Activation vectors over the positions of the anchor ("paper") or of the other image ("published").
    node.LAYOUT = "paper"
    # Weight of the loss.
    node.SCALE = 2.0
    return node


def _search() -> CfgNode:
    node = CfgNode()
    # Which search: a registered one.
    node.NAME = "TwinsContrastiveSearch"
    # Percentages of the identities in the training and in the validation split; what they have beyond 100 together is
    # shared, each of these identities with half of its images in either (Table 9).
    node.SPLIT = [60, 80]
    # tcm (twin memories) or softmax (one classifier for both splits, which needs SPLIT [100, 100]).
    node.SUPERVISION = "tcm"
    # Of the memories: temperature of the softmax (tau).
    node.TEMPERATURE = 0.05
    # Of the memories: share of the old centroid in the new one (beta).
    node.MEMORY_MOMENTUM = 0.2
    # Letters of the interactions to choose from; empty for all that are registered.
    node.OPERATIONS = []
    # Learning rate of the architecture, by Adam; it follows SOLVER's schedule.
    node.BASE_LR = 0.002
    # Of Adam, for the architecture.
    node.BETAS = [0.5, 0.999]
    # Of the architecture.
    node.WEIGHT_DECAY = 0.001
    # Identities of the splits; 0 takes their number.
    node.NUM_CLASSES = [0, 0]
    # The config, file or short name, that trains what is found.
    node.TRAIN_CONFIG = "msinet/msmt"
    return node
