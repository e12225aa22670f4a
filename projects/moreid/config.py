"""The project's config keys."""

from __future__ import annotations

from fastreid_ext.config import CfgNode

__all__ = ["add_config"]


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.MOREID`, and below `MODEL.LOSSES` a node for each of the project's losses."""
    # MOMENTUM is the weight of the momentum encoder's old weights in each step; MOMENTUM_SCHEDULE keeps it "constant",
    # or lets it rise to 1 in a "cosine". DICTIONARY_SIZE counts images. PAST_POSITIVES takes images of earlier batches
    # as positives, too.
    cfg.MODEL.MOREID = CfgNode(
        {"MOMENTUM": 0.997, "MOMENTUM_SCHEDULE": "constant", "DICTIONARY_SIZE": 8192, "PAST_POSITIVES": False}
    )
    losses = cfg.MODEL.LOSSES
    # METRIC is euclidean or cosine.
    losses.HE = CfgNode({"METRIC": "euclidean", "SCALE": 1.0})
    losses.C_TRIPLET = CfgNode({"MARGIN": 0.8, "SCALE": 1.0})
    # MOMENTUM is the weight of a new batch in the histogram of BINS bins.
    losses.W_TRIPLET = CfgNode({"MOMENTUM": 0.01, "BINS": 512, "SCALE": 1.0})
    losses.N_PAIR = CfgNode({"NUM_NEGATIVES": 15, "NORM_FEAT": False, "L2_WEIGHT": 0.0, "SCALE": 1.0})
    # Positives are to be nearer than ALPHA - MARGIN, negatives further away than ALPHA, on unit vectors.
    losses.RANKED_LIST = CfgNode({"ALPHA": 1.2, "MARGIN": 0.4, "TEMPERATURE": 10.0, "SCALE": 1.0})
    # FORM is single (eq. 5), in (eq. 6) or out (eq. 7); NUM_NEGATIVES 0 takes all negatives, else the hardest.
    losses.INFO_NCE = CfgNode({"TEMPERATURE": 0.07, "FORM": "out", "NUM_NEGATIVES": 0, "SCALE": 1.0})
