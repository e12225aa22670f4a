"""Every key with its default and, above it, its meaning: the documentation's reference is made of these comments.

Names, defaults and meanings are FastReID's where FastReID has the key. Keys marked (new) are ours.
"""

from __future__ import annotations

from fastreid_ext.config.defaults_data import dataloader_defaults, dataset_defaults, input_defaults
from fastreid_ext.config.defaults_model import model_defaults
from fastreid_ext.config.defaults_solver import solver_defaults
from fastreid_ext.config.defaults_test import test_defaults
from fastreid_ext.config.node import CfgNode

__all__ = ["defaults"]


def defaults() -> CfgNode:
    """A new copy of the default config, without any project's keys."""
    cfg = CfgNode()
    # Projects to load, such as ["msinet"]; their parts and keys exist only then (new).
    cfg.PROJECTS = []
    # Everything random follows from it: initial weights, batches, augmentation (new).
    cfg.SEED = 0
    # Folder of the run: config, log, checkpoints, results.
    cfg.OUTPUT_DIR = "logs/"
    # Lets cuDNN time its algorithms and take the quickest; runs then differ in the last bits.
    cfg.CUDNN_BENCHMARK = False
    # The network and its losses.
    cfg.MODEL = model_defaults()
    # Distillation: META_ARCHITECTURE Distiller.
    cfg.KD = _kd()
    # Size and augmentation of images.
    cfg.INPUT = input_defaults()
    # What is trained and tested on.
    cfg.DATASETS = dataset_defaults()
    # How images become batches.
    cfg.DATALOADER = dataloader_defaults()
    # Optimizer, schedule, checkpoints.
    cfg.SOLVER = solver_defaults()
    # Evaluation.
    cfg.TEST = test_defaults()
    # What TensorBoard shows beside losses, rates and figures (new).
    cfg.TENSORBOARD = _tensorboard()
    # Searches for losses and architectures: projects that bring one add its node (new).
    cfg.SEARCH = CfgNode()
    # FastReID's way where its published figures depend on it (new).
    cfg.COMPAT = _compat()
    return cfg


def _kd() -> CfgNode:
    distillation = CfgNode()
    # A config for each teacher.
    distillation.MODEL_CONFIG = []
    # A checkpoint for each teacher.
    distillation.MODEL_WEIGHTS = []
    # By which logits are divided (new; FastReID's is 16).
    distillation.TEMPERATURE = 16.0
    # A teacher that is the moving average of the student.
    distillation.EMA = CfgNode()
    # Take it, beside those of MODEL_CONFIG or alone.
    distillation.EMA.ENABLED = False
    # Weight of the old average in each step.
    distillation.EMA.MOMENTUM = 0.999
    return distillation


def _tensorboard() -> CfgNode:
    board = CfgNode()
    # Images of a batch as the model sees them, augmented, with their classes; 0 for none (new).
    board.IMAGES = 16
    # Epochs between such pictures; 0 for one at the start of training only (new).
    board.IMAGES_PERIOD = 0
    # The embeddings of the first test set after the last epoch, for the projector (new).
    board.PROJECTOR = False
    # Images in the projector, at most (new).
    board.PROJECTOR_IMAGES = 1000
    return board


def _compat() -> CfgNode:
    compat = CfgNode()
    # The schedule's epochs begin to count when the warm-up, and DELAY_EPOCHS, have ended (new).
    compat.SCHEDULE_AFTER_WARMUP = False
    # Non-local blocks with one inner channel, as FastReID's weights of AGW and SBS have them (new).
    compat.ONE_CHANNEL_NON_LOCAL = False
    # Its re-ranking: TEST.RERANK.VARIANT fastreid (new).
    compat.RERANK = False
    return compat
