"""The project's config keys."""

from __future__ import annotations

from fastreid_ext.config import CfgNode

__all__ = ["add_config"]


def add_config(cfg: CfgNode) -> None:
    """Adds `MODEL.GMS`, `MODEL.LOSSES.GMS` and `SEARCH.LOSS`."""
    # Of the classification layer GMSSoftmax.
    cfg.MODEL.GMS = _loss("gms-a")
    # Of the loss on pairs GMSPairwiseLoss.
    cfg.MODEL.LOSSES.GMS = _loss("gms-pair")
    cfg.MODEL.LOSSES.GMS.SCALE = 1.0
    cfg.SEARCH.LOSS = _search()


def _loss(preset: str) -> CfgNode:
    node = CfgNode()
    # softmax, cosface, arcface, circle, gms-zero, gms-a ... gms-d, gms-pair and others: see the project's README.
    node.PRESET = preset
    # A loss of your own instead: t and n as text, such as "de(1-x)*(x-0.7)"; needs LOG2_SCALE, too.
    node.TARGET = ""
    node.NONTARGET = ""
    # Logarithm of the scale s to the base 2; 0 for the preset's.
    node.LOG2_SCALE = 0.0
    return node


def _search() -> CfgNode:
    node = CfgNode()
    # Which search: a registered one.
    node.NAME = "AutoLossGMS"
    # Founders: NUM_INITIAL (K), random ones, and the ten hand-crafted losses where PREDEFINED says so.
    node.NUM_INITIAL = 20
    node.PREDEFINED = True
    # The latest POPULATION (P) losses; TOURNAMENT (T) is the share of them among which a parent is the best.
    node.POPULATION = 1000
    node.TOURNAMENT = 0.05
    # The search ends after so many proxy evaluations, or hours (0: no limit).
    node.MAX_EVALUATIONS = 500
    node.MAX_HOURS = 0.0
    _add_space(node)
    _add_screening(node)
    # Proxy task: share of the training identities to train with, the others validate; what is maximised there; seconds
    # after which a trial is given up (0: never). The rest of the task is the config itself.
    node.TRAIN_SHARE = 0.8
    node.METRIC = "mAP"
    node.TIME_LIMIT = 0.0
    # The config, file or short name, with which the best loss is trained.
    node.TRAIN_CONFIG = "gms/market/resnet50_a"
    return node


def _add_space(node: CfgNode) -> None:
    # Graphs: n_c, n_o; constants are CONSTANT_STEP times 1 to CONSTANT_STEPS (Delta_c, N_c), log2 s likewise
    # (Delta_s, N_s). EXACT: random graphs have n_o operations, else any number up to it.
    node.NUM_CONSTANTS = 2
    node.MAX_OPERATIONS = 10
    node.EXACT = False
    node.SCALE_STEP = 0.5
    node.SCALE_STEPS = 20
    node.CONSTANT_STEP = 0.05
    node.CONSTANT_STEPS = 20
    # Offspring: p_c, p_copy, p_re, N_m.
    node.CROSS_PROB = 0.6
    node.COPY_PROB = 0.1
    node.REINIT_PROB = 0.4
    node.MAX_MUTATIONS = 3


def _add_screening(node: CfgNode) -> None:
    # Rejection: N points of [-1, 1] of which a share (tau_p) must have the properties; accuracy (tau_toy) and number of
    # embeddings (B) of the toy task. Losses that agree to DIGITS (Gamma) are the same.
    node.POINTS = 257
    node.PROPERTY_SHARE = 0.8
    node.TOY_ACCURACY = 0.9
    node.TOY_BATCH = 64
    node.DIGITS = 13
    # Chooser: the best of CANDIDATES (N_p) by a predictor that is trained after START (E_0) evaluations and anew after
    # every INTERVAL (Delta E) more; the others are its training.
    node.PREDICTOR = CfgNode(
        {
            "ENABLED": True,
            "START": 100,
            "INTERVAL": 100,
            "CANDIDATES": 10,
            "EPOCHS": 200,
            "BASE_LR": 0.0035,
            "BATCH": 16,
            "RANKING_WEIGHT": 1.0,
            "TEMPERATURE": 0.01,
        }
    )
