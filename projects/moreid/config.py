"""The project's config keys."""

from __future__ import annotations

from fastreid_ext.config import CfgNode

__all__ = ["add_config"]


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.MOREID`, and below `MODEL.LOSSES` a node for each of the project's losses."""
    # Of META_ARCHITECTURE MoReID.
    node = cfg.MODEL.MOREID = CfgNode()
    # Weight of the momentum encoder's old weights in each step.
    node.MOMENTUM = 0.997
    # "constant", or "cosine": the momentum rises to 1.
    node.MOMENTUM_SCHEDULE = "constant"
    # Images that are remembered.
    node.DICTIONARY_SIZE = 8192
    # Take images of earlier batches as positives, too.
    node.PAST_POSITIVES = False
    _add_losses(cfg.MODEL.LOSSES)


def _add_losses(losses: CfgNode) -> None:
    # Of HardDistanceElasticLoss.
    losses.HE = CfgNode()
    # euclidean or cosine.
    losses.HE.METRIC = "euclidean"
    # Weight of the loss.
    losses.HE.SCALE = 1.0
    # Of ClassTripletLoss.
    losses.C_TRIPLET = CfgNode()
    # Between squared distances to the own identity's agent and to others.
    losses.C_TRIPLET.MARGIN = 0.8
    # Weight of the loss.
    losses.C_TRIPLET.SCALE = 1.0
    # Of WeightedTripletLoss.
    losses.W_TRIPLET = CfgNode()
    # Weight of a new batch in the histogram of gaps.
    losses.W_TRIPLET.MOMENTUM = 0.01
    # Of the histogram.
    losses.W_TRIPLET.BINS = 512
    # Weight of the loss.
    losses.W_TRIPLET.SCALE = 1.0
    # Of NPairLoss.
    losses.N_PAIR = CfgNode()
    # Hardest negatives to take; 0 for all.
    losses.N_PAIR.NUM_NEGATIVES = 15
    # Compare directions only: features are brought to length 1.
    losses.N_PAIR.NORM_FEAT = False
    # Weight of the mean squared length of the queries.
    losses.N_PAIR.L2_WEIGHT = 0.0
    # Weight of the loss.
    losses.N_PAIR.SCALE = 1.0
    _add_more_losses(losses)


def _add_more_losses(losses: CfgNode) -> None:
    # Of RankedListLoss.
    losses.RANKED_LIST = CfgNode()
    # Negatives are to be further away than this, on unit vectors.
    losses.RANKED_LIST.ALPHA = 1.2
    # Positives are to be nearer than ALPHA - MARGIN.
    losses.RANKED_LIST.MARGIN = 0.4
    # How much more negatives weigh the nearer they are.
    losses.RANKED_LIST.TEMPERATURE = 10.0
    # Weight of the loss.
    losses.RANKED_LIST.SCALE = 1.0
    # Of InfoNCELoss.
    losses.INFO_NCE = CfgNode()
    # By which cosines are divided (tau).
    losses.INFO_NCE.TEMPERATURE = 0.07
    # What becomes of several positives: single (eq. 5), in (eq. 6) or out (eq. 7).
    losses.INFO_NCE.FORM = "out"
    # Hardest negatives to take; 0 for all.
    losses.INFO_NCE.NUM_NEGATIVES = 0
    # Weight of the loss.
    losses.INFO_NCE.SCALE = 1.0
