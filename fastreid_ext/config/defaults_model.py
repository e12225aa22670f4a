"""`MODEL`: the network and its losses."""

from __future__ import annotations

from fastreid_ext.config.defaults_data import IMAGENET_MEAN
from fastreid_ext.config.node import CfgNode

__all__ = ["model_defaults"]

_IMAGENET_STD = (58.395, 57.12, 57.375)


def model_defaults() -> CfgNode:
    """A new copy of `MODEL`."""
    model = CfgNode()
    # "auto" takes the GPU when there is one (new; FastReID's default is "cuda").
    model.DEVICE = "auto"
    # How backbone, heads and losses are put together: Baseline, MGN, MoCo, Distiller, ...
    model.META_ARCHITECTURE = "Baseline"
    # Modules kept fixed for the first SOLVER.FREEZE_ITERS iterations, by name, such as "backbone".
    model.FREEZE_LAYERS = []
    # Features that META_ARCHITECTURE MoCo remembers.
    model.QUEUE_SIZE = 8192
    # Checkpoint to start from, or to evaluate: a path, or a URL whose name may end in a checksum.
    model.WEIGHTS = ""
    # Mean of each colour, RGB, 0-255.
    model.PIXEL_MEAN = list(IMAGENET_MEAN)
    # Standard deviation of each colour, RGB, 0-255.
    model.PIXEL_STD = list(_IMAGENET_STD)
    # Memory layout that convolutions prefer on GPUs with AMP and on CPUs (new).
    model.CHANNELS_LAST = False
    # torch.compile the model for training; evaluation takes the plain one (new).
    model.COMPILE = False
    # From images to feature maps.
    model.BACKBONE = _backbone()
    # From feature maps to embeddings and logits.
    model.HEADS = _heads()
    # What is minimised: a node for each loss.
    model.LOSSES = _losses()
    return model


def _backbone() -> CfgNode:
    backbone = CfgNode()
    # A registered backbone, or "timm:<name>".
    backbone.NAME = "build_resnet_backbone"
    # Variant within a family: "50x" for ResNet, "x1_0" for OSNet, "121" for DenseNet.
    backbone.DEPTH = "50x"
    # Of a ResNet's last stage: 1 keeps its maps large, 2 is that of ImageNet classifiers.
    backbone.LAST_STRIDE = 1
    # Channels of the last map. Ours know it; the key is here for FastReID's files.
    backbone.FEAT_DIM = 2048
    # BN, syncBN, GhostBN, FrozenBN or GN.
    backbone.NORM = "BN"
    # Instance normalisation beside batch normalisation in early layers (IBN-Net, a).
    backbone.WITH_IBN = False
    # OSNet with searched instance normalisation instead of IBN (new).
    backbone.WITH_AIN = False
    # Squeeze-and-excitation blocks.
    backbone.WITH_SE = False
    # Non-local blocks, as in AGW.
    backbone.WITH_NL = False
    # Inner channels of non-local blocks: 0 for half of the outer ones, 1 for FastReID's published weights (new).
    backbone.NON_LOCAL_CHANNELS = 0
    # Weight of ViT's camera embeddings, which neither FastReID nor this gives it: changes nothing.
    backbone.SIE_COE = 3.0
    # Pixels between ViT's patches of 16, downwards and to the right.
    backbone.STRIDE_SIZE = (16, 16)
    # Of transformers: share of samples that the last block is left out for, rising block by block.
    backbone.DROP_PATH_RATIO = 0.1
    # Of transformers: dropout of tokens.
    backbone.DROP_RATIO = 0.0
    # Of transformers: dropout of attention.
    backbone.ATT_DROP_RATE = 0.0
    # Start from ImageNet weights: PRETRAIN_PATH when given, else the library's own download.
    backbone.PRETRAIN = False
    # File of these weights; empty for the download.
    backbone.PRETRAIN_PATH = ""
    return backbone


def _heads() -> CfgNode:
    heads = CfgNode()
    # A registered head: EmbeddingHead, ClasHead, ...
    heads.NAME = "EmbeddingHead"
    # Of the neck: BN, syncBN, GhostBN, FrozenBN or GN.
    heads.NORM = "BN"
    # 0 takes the number of identities in the training data.
    heads.NUM_CLASSES = 0
    # 0 keeps the backbone's width, else a 1x1 convolution reduces to it.
    heads.EMBEDDING_DIM = 0
    # Normalise embeddings ahead of the classifier; they are the ones that are compared in tests.
    heads.WITH_BNNECK = False
    # Feature that metric losses see in training: "before" or "after" the neck.
    heads.NECK_FEAT = "before"
    # From a map to a vector: GlobalAvgPool, GeneralizedMeanPooling, ...
    heads.POOL_LAYER = "GlobalAvgPool"
    # Margins of the classifier: Linear (none), ArcSoftmax, CosSoftmax, CircleSoftmax, ...
    heads.CLS_LAYER = "Linear"
    # Of CLS_LAYER.
    heads.MARGIN = 0.0
    # By which CLS_LAYER multiplies its logits.
    heads.SCALE = 1.0
    return heads


def _losses() -> CfgNode:
    losses = CfgNode()
    # Registered losses, or "pml:<Class>:key=value,..." for one of pytorch-metric-learning.
    losses.NAME = ("CrossEntropyLoss",)
    # Of CrossEntropyLoss.
    losses.CE = CfgNode()
    # Label smoothing; -1 smooths each sample by ALPHA times its own predicted probability.
    losses.CE.EPSILON = 0.0
    # Only read where EPSILON is -1.
    losses.CE.ALPHA = 0.2
    # Weight of the loss.
    losses.CE.SCALE = 1.0
    # Of FocalLoss.
    losses.FL = CfgNode()
    # Factor of all samples.
    losses.FL.ALPHA = 0.25
    # How fast samples that are classified well lose their weight.
    losses.FL.GAMMA = 2.0
    # Weight of the loss.
    losses.FL.SCALE = 1.0
    _add_pairwise(losses)
    return losses


def _add_pairwise(losses: CfgNode) -> None:
    # Of TripletLoss.
    losses.TRI = CfgNode()
    # How much nearer positives are to be than negatives; 0 takes the soft margin.
    losses.TRI.MARGIN = 0.3
    # Compare directions only: features are brought to length 1.
    losses.TRI.NORM_FEAT = False
    # The hardest positive and negative of each anchor; False weights all of them softly.
    losses.TRI.HARD_MINING = False
    # Weight of the loss.
    losses.TRI.SCALE = 1.0
    # Of TripletAllLoss: every positive against every negative of an anchor (new).
    losses.TRI_ALL = CfgNode()
    # How much nearer positives are to be than negatives (new).
    losses.TRI_ALL.MARGIN = 0.3
    # Compare directions only (new).
    losses.TRI_ALL.NORM_FEAT = False
    # Weight of the loss (new).
    losses.TRI_ALL.SCALE = 1.0
    # Of CircleLoss.
    losses.CIRCLE = CfgNode()
    # How far cosines may be from 1 and 0.
    losses.CIRCLE.MARGIN = 0.25
    # By which cosines are multiplied.
    losses.CIRCLE.GAMMA = 128.0
    # Weight of the loss.
    losses.CIRCLE.SCALE = 1.0
    # Of Cosface, the loss on pairs.
    losses.COSFACE = CfgNode()
    # How far cosines of positives are to be above those of negatives.
    losses.COSFACE.MARGIN = 0.25
    # By which cosines are multiplied.
    losses.COSFACE.GAMMA = 128.0
    # Weight of the loss.
    losses.COSFACE.SCALE = 1.0
