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
    # Weight of the loss.
    cfg.MODEL.LOSSES.GMS.SCALE = 1.0
    # How a loss is searched for: tools/search_loss.py.
    cfg.SEARCH.LOSS = _search()


def _loss(preset: str) -> CfgNode:
    node = CfgNode()
    # softmax, cosface, arcface, circle, gms-zero, gms-a ... gms-d, gms-pair and others: see the project's README.
    node.PRESET = preset
    # A loss of your own instead: t as text, such as "de(1-x)*(x-0.7)"; needs NONTARGET and LOG2_SCALE, too.
    node.TARGET = ""
    # n as text, such as "x-0.1".
    node.NONTARGET = ""
    # Logarithm of the scale s to the base 2; 0 for the preset's.
    node.LOG2_SCALE = 0.0
    return node


def _search() -> CfgNode:
    node = CfgNode()
    # Which search: a registered one.
    node.NAME = "AutoLossGMS"
    # Founders that are random (K).
    node.NUM_INITIAL = 20
    # The ten hand-crafted losses are founders, too.
    node.PREDEFINED = True
    # Of the latest losses, so many may be parents (P).
    node.POPULATION = 1000
    # Share of them among which a parent is the best (T).
    node.TOURNAMENT = 0.05
    # Proxy evaluations after which the search ends.
    node.MAX_EVALUATIONS = 500
    # Hours after which the search ends; 0 for no limit.
    node.MAX_HOURS = 0.0
    _add_space(node)
    _add_screening(node)
    # Chooser: candidates are ranked by a predictor that the trials train.
    node.PREDICTOR = _predictor()
    # Share of the training identities to train with in the proxy task; the others validate.
    node.TRAIN_SHARE = 0.8
    # What is maximised in the proxy task, whose rest is the config itself.
    node.METRIC = "mAP"
    # Seconds after which a trial is given up; 0 for never.
    node.TIME_LIMIT = 0.0
    # The config, file or short name, with which the best loss is trained.
    node.TRAIN_CONFIG = "gms/market/resnet50_a"
    return node


def _add_space(node: CfgNode) -> None:
    # Constants of a graph (n_c).
    node.NUM_CONSTANTS = 2
    # Operations of a graph, at most (n_o).
    node.MAX_OPERATIONS = 10
    # Random graphs have MAX_OPERATIONS operations, else any number up to it.
    node.EXACT = False
    # log2 of the scale is this times 1 to SCALE_STEPS (Delta_s).
    node.SCALE_STEP = 0.5
    # See SCALE_STEP (N_s).
    node.SCALE_STEPS = 20
    # Constants are this times 1 to CONSTANT_STEPS (Delta_c).
    node.CONSTANT_STEP = 0.05
    # See CONSTANT_STEP (N_c).
    node.CONSTANT_STEPS = 20
    # How often two losses exchange t or n for offspring (p_c).
    node.CROSS_PROB = 0.6
    # How often t, n or s is left as it is (p_copy).
    node.COPY_PROB = 0.1
    # How often it is left as it is or drawn anew, together (p_re).
    node.REINIT_PROB = 0.4
    # Mutations of a graph, at most (N_m).
    node.MAX_MUTATIONS = 3


def _add_screening(node: CfgNode) -> None:
    # Points of [-1, 1] at which losses are looked at (N).
    node.POINTS = 257
    # Share of the points at which a loss must have the properties (tau_p).
    node.PROPERTY_SHARE = 0.8
    # Accuracy that a loss must reach in the toy task (tau_toy).
    node.TOY_ACCURACY = 0.9
    # Embeddings of the toy task (B).
    node.TOY_BATCH = 64
    # Losses that agree to so many digits are the same (Gamma).
    node.DIGITS = 13


def _predictor() -> CfgNode:
    node = CfgNode()
    # Turn it on.
    node.ENABLED = True
    # Evaluations after which it is trained first (E_0).
    node.START = 100
    # Evaluations after which it is trained anew (Delta E).
    node.INTERVAL = 100
    # Losses of which the best is evaluated (N_p).
    node.CANDIDATES = 10
    # Of its training.
    node.EPOCHS = 200
    # Learning rate of its training.
    node.BASE_LR = 0.0035
    # Losses of a step of its training.
    node.BATCH = 16
    # Weight of the ranking loss beside the regression.
    node.RANKING_WEIGHT = 1.0
    # Of the ranking loss.
    node.TEMPERATURE = 0.01
    return node
