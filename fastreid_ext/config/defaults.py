"""Every key with its default and meaning.

Names, defaults and meanings are FastReID's where FastReID has the key. Keys marked (new) are ours.
"""

from __future__ import annotations

from fastreid_ext.config.node import CfgNode

__all__ = ["defaults"]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


def defaults() -> CfgNode:
    """A new copy of the default config, without any project's keys."""
    cfg = CfgNode()
    # Projects to load, such as ["msinet"]; their parts and keys exist only then (new).
    cfg.PROJECTS = []
    # Everything random follows from it: initial weights, batches, augmentation (new).
    cfg.SEED = 0
    cfg.OUTPUT_DIR = "logs/"
    # Lets cuDNN time its algorithms and take the quickest; runs then differ in the last bits.
    cfg.CUDNN_BENCHMARK = False
    cfg.MODEL = _model()
    cfg.KD = _kd()
    cfg.INPUT = _input()
    cfg.DATASETS = _datasets()
    cfg.DATALOADER = _dataloader()
    cfg.SOLVER = _solver()
    cfg.TEST = _test()
    # Searches for losses and architectures: projects that bring one add its node (new).
    cfg.SEARCH = CfgNode()
    cfg.COMPAT = _compat()
    return cfg


def _kd() -> CfgNode:
    """Distillation: META_ARCHITECTURE Distiller."""
    distillation = CfgNode()
    # A config and a checkpoint for each teacher.
    distillation.MODEL_CONFIG = []
    distillation.MODEL_WEIGHTS = []
    # By which logits are divided (new; FastReID's is 16).
    distillation.TEMPERATURE = 16.0
    # Also a teacher that is the moving average of the student.
    distillation.EMA = CfgNode({"ENABLED": False, "MOMENTUM": 0.999})
    return distillation


def _compat() -> CfgNode:
    """FastReID's way where its published figures depend on it (new)."""
    compat = CfgNode()
    # The schedule's epochs begin to count when the warm-up, and DELAY_EPOCHS, have ended.
    compat.SCHEDULE_AFTER_WARMUP = False
    # Non-local blocks with one inner channel, as FastReID's weights of AGW and SBS have them.
    compat.ONE_CHANNEL_NON_LOCAL = False
    # Its re-ranking: TEST.RERANK.VARIANT fastreid.
    compat.RERANK = False
    return compat


def _model() -> CfgNode:
    model = CfgNode()
    # "auto" takes the GPU when there is one (new; FastReID's default is "cuda").
    model.DEVICE = "auto"
    model.META_ARCHITECTURE = "Baseline"
    # Modules kept fixed for the first SOLVER.FREEZE_ITERS iterations, by name, such as "backbone".
    model.FREEZE_LAYERS = []
    model.QUEUE_SIZE = 8192
    # Checkpoint to start from, or to evaluate: a path, or a URL whose name may end in a checksum.
    model.WEIGHTS = ""
    # RGB, 0-255.
    model.PIXEL_MEAN = list(IMAGENET_MEAN)
    model.PIXEL_STD = list(IMAGENET_STD)
    # Memory layout that convolutions prefer on GPUs with AMP and on CPUs (new).
    model.CHANNELS_LAST = False
    # torch.compile the model for training; evaluation takes the plain one (new).
    model.COMPILE = False
    model.BACKBONE = _backbone()
    model.HEADS = _heads()
    model.LOSSES = _losses()
    return model


def _backbone() -> CfgNode:
    backbone = CfgNode()
    backbone.NAME = "build_resnet_backbone"
    # Variant within a family: "50x" for ResNet, "x1_0" for OSNet, "121" for DenseNet.
    backbone.DEPTH = "50x"
    backbone.LAST_STRIDE = 1
    # Channels of the last map. Ours know it; the key is here for FastReID's files.
    backbone.FEAT_DIM = 2048
    # BN, syncBN, GhostBN, FrozenBN or GN.
    backbone.NORM = "BN"
    backbone.WITH_IBN = False
    # OSNet with searched instance normalisation instead of IBN (new).
    backbone.WITH_AIN = False
    backbone.WITH_SE = False
    backbone.WITH_NL = False
    # Inner channels of non-local blocks: 0 for half of the outer ones, 1 for FastReID's published weights (new).
    backbone.NON_LOCAL_CHANNELS = 0
    # Weight of ViT's camera embeddings, which neither FastReID nor this gives it: changes nothing.
    backbone.SIE_COE = 3.0
    # Pixels between ViT's patches of 16, downwards and to the right.
    backbone.STRIDE_SIZE = (16, 16)
    # Of transformers: share of samples that the last block is left out for, dropout of tokens, and of attention.
    backbone.DROP_PATH_RATIO = 0.1
    backbone.DROP_RATIO = 0.0
    backbone.ATT_DROP_RATE = 0.0
    # Start from ImageNet weights: PRETRAIN_PATH when given, else the library's own download.
    backbone.PRETRAIN = False
    backbone.PRETRAIN_PATH = ""
    return backbone


def _heads() -> CfgNode:
    heads = CfgNode()
    heads.NAME = "EmbeddingHead"
    heads.NORM = "BN"
    # 0 takes the number of identities in the training data.
    heads.NUM_CLASSES = 0
    # 0 keeps the backbone's width, else a 1x1 convolution reduces to it.
    heads.EMBEDDING_DIM = 0
    heads.WITH_BNNECK = False
    # Feature that metric losses see in training: "before" or "after" the neck.
    heads.NECK_FEAT = "before"
    heads.POOL_LAYER = "GlobalAvgPool"
    heads.CLS_LAYER = "Linear"
    heads.MARGIN = 0.0
    heads.SCALE = 1.0
    return heads


def _losses() -> CfgNode:
    losses = CfgNode()
    # Registered losses, or "pml:<Class>:key=value,..." for one of pytorch-metric-learning.
    losses.NAME = ("CrossEntropyLoss",)
    # EPSILON -1 smooths each sample by ALPHA times its own predicted probability.
    losses.CE = CfgNode({"EPSILON": 0.0, "ALPHA": 0.2, "SCALE": 1.0})
    losses.FL = CfgNode({"ALPHA": 0.25, "GAMMA": 2.0, "SCALE": 1.0})
    # HARD_MINING False weights all triplets softly; MARGIN 0 takes the soft margin.
    losses.TRI = CfgNode({"MARGIN": 0.3, "NORM_FEAT": False, "HARD_MINING": False, "SCALE": 1.0})
    # Every positive against every negative of an anchor (new).
    losses.TRI_ALL = CfgNode({"MARGIN": 0.3, "NORM_FEAT": False, "SCALE": 1.0})
    losses.CIRCLE = CfgNode({"MARGIN": 0.25, "GAMMA": 128.0, "SCALE": 1.0})
    losses.COSFACE = CfgNode({"MARGIN": 0.25, "GAMMA": 128.0, "SCALE": 1.0})
    return losses


def _input() -> CfgNode:
    inputs = CfgNode()
    # Height, width.
    inputs.SIZE_TRAIN = [256, 128]
    inputs.SIZE_TEST = [256, 128]
    inputs.CROP = CfgNode({"ENABLED": False, "SIZE": [224, 224], "SCALE": [0.16, 1.0], "RATIO": [3.0 / 4.0, 4.0 / 3.0]})
    inputs.FLIP = CfgNode({"ENABLED": False, "PROB": 0.5})
    inputs.PADDING = CfgNode({"ENABLED": False, "MODE": "constant", "SIZE": 10})
    inputs.CJ = CfgNode(
        {"ENABLED": False, "PROB": 0.5, "BRIGHTNESS": 0.15, "CONTRAST": 0.15, "SATURATION": 0.1, "HUE": 0.1}
    )
    inputs.AFFINE = CfgNode({"ENABLED": False})
    inputs.AUTOAUG = CfgNode({"ENABLED": False, "PROB": 0.0})
    inputs.AUGMIX = CfgNode({"ENABLED": False, "PROB": 0.0})
    # MODE "const" fills the erased rectangle with the RGB colour VALUE, 0-255; "rand" with a random colour and "pixel"
    # with noise, both standard normal on the scale of normalised images (MODE is new).
    inputs.REA = CfgNode({"ENABLED": False, "PROB": 0.5, "VALUE": list(IMAGENET_MEAN), "MODE": "const"})
    inputs.RPT = CfgNode({"ENABLED": False, "PROB": 0.5})
    # Further registered transforms, such as your own, ahead of REA and RPT (new).
    inputs.TRANSFORMS = []
    return inputs


def _datasets() -> CfgNode:
    datasets = CfgNode()
    # Registered data sets, with options as "SynthReID:kind=vehicle,seed=3" or "MarketLayout:/path/to/folder".
    datasets.NAMES = ("SynthReID",)
    datasets.TESTS = ("SynthReID",)
    # Train on the query and gallery images too.
    datasets.COMBINEALL = False
    # Folder of the data sets; empty: the environment variable FASTREID_DATASETS, else "datasets" (new).
    datasets.ROOT = ""
    return datasets


def _dataloader() -> CfgNode:
    loader = CfgNode()
    loader.SAMPLER_TRAIN = "TrainingSampler"
    # Images of an identity in a batch, for the identity samplers.
    loader.NUM_INSTANCE = 4
    # Where decoded images are kept: "device" (the memory of the training device), "pinned" (page-locked host memory,
    # for GPUs), "mmap" (a file that outlives the run and that all processes share), "stream" (nowhere: images are
    # decoded again for every batch), or "auto", which takes what has room and says so (new).
    loader.STORE = "auto"
    # Folder of the files of "mmap"; empty: fastreid_ext/images in $FASTREID_CACHE, else in the user's caches (new).
    loader.STORE_DIR = ""
    # Threads of each process that decode and augment; 0: as many as there are cores (FastReID: processes).
    loader.NUM_WORKERS = 8
    # One weight for each set of DATASETS.NAMES, for SetReWeightSampler: the ratios of their identities in a batch.
    loader.SET_WEIGHT = []
    return loader


def _solver() -> CfgNode:
    solver = CfgNode()
    # DTYPE "auto": bfloat16 where the GPU has it, else float16; float32 on a CPU (new).
    solver.AMP = CfgNode({"ENABLED": False, "DTYPE": "auto"})
    # SGD, Adam, AdamW, ...: any class of torch.optim, or a registered one.
    solver.OPT = "Adam"
    # More arguments of the optimizer as ["betas=(0.9, 0.99)"] (new).
    solver.OPT_ARGS = []
    solver.MAX_EPOCH = 120
    # "auto" (new): what fits the number of training images and of images a step (MoReID, eq. 4).
    solver.BASE_LR = 3e-4
    solver.HEADS_LR_FACTOR = 1.0
    solver.MOMENTUM = 0.9
    solver.NESTEROV = False
    solver.WEIGHT_DECAY = 5e-4
    solver.WEIGHT_DECAY_NORM = 5e-4
    solver.BIAS_LR_FACTOR = 1.0
    solver.WEIGHT_DECAY_BIAS = 5e-4
    solver.SCHED = "MultiStepLR"
    # Whether the schedule moves every "epoch" or every "iteration" (new).
    solver.SCHED_INTERVAL = "epoch"
    # Epochs before the cosine begins to fall.
    solver.DELAY_EPOCHS = 0
    # Factor at each of STEPS, which are epochs counted from the start of training.
    solver.GAMMA = 0.1
    solver.STEPS = [30, 55]
    solver.ETA_MIN_LR = 1e-7
    solver.WARMUP_FACTOR = 0.1
    solver.WARMUP_ITERS = 1000
    solver.WARMUP_METHOD = "linear"
    solver.FREEZE_ITERS = 0
    # Epochs between checkpoints.
    solver.CHECKPOINT_PERIOD = 20
    # Iterations between two lines of the log (new).
    solver.LOG_PERIOD = 50
    # Images of a step over all processes; divided by ACCUMULATION_STEPS for each forward pass.
    solver.IMS_PER_BATCH = 64
    # Forward passes an optimizer step (new).
    solver.ACCUMULATION_STEPS = 1
    solver.CLIP_GRADIENTS = CfgNode({"ENABLED": False, "CLIP_TYPE": "norm", "CLIP_VALUE": 5.0, "NORM_TYPE": 2.0})
    # For distributed training in which some weights get no gradient, such as a classifier without its loss (new).
    solver.FIND_UNUSED_PARAMETERS = False
    solver.FIRST_STAGE = _first_stage()
    # Moving average of the weights, used for evaluation and saved as the model (new).
    solver.EMA = CfgNode({"ENABLED": False, "MOMENTUM": 0.999})
    return solver


def _first_stage() -> CfgNode:
    """A first stage of training with another task (new)."""
    stage = CfgNode()
    # The first epochs of MAX_EPOCH; 0 for one stage only.
    stage.EPOCHS = 0
    # In place of MODEL.LOSSES.NAME and DATALOADER.SAMPLER_TRAIN.
    stage.LOSSES = ["CrossEntropyLoss"]
    stage.SAMPLER_TRAIN = "TrainingSampler"
    # In place of SOLVER.BASE_LR, if above 0. The optimizer starts anew when the stage ends.
    stage.BASE_LR = 0.0
    return stage


def _test() -> CfgNode:
    test = CfgNode()
    # Epochs between evaluations; 0 evaluates at the end only.
    test.EVAL_PERIOD = 20
    # Also evaluate the untrained model (new).
    test.EVAL_UNTRAINED = False
    test.IMS_PER_BATCH = 64
    # What turns features into figures (new).
    test.EVALUATOR = "ReidEvaluator"
    test.METRIC = "cosine"
    # Metric of the first test set by which model_best.pth is chosen: mAP, mINP, Rank-1, ... or, as RetrievalEvaluator
    # names them, Recall@1, MAP@R, ..., or ClasEvaluator's Acc@1 (new).
    test.BEST_METRIC = "mAP"
    # Leave unreadable images out of the evaluation instead of failing at its end (new).
    test.SKIP_UNREADABLE = False
    test.ROC = CfgNode({"ENABLED": False})
    test.FLIP = CfgNode({"ENABLED": False})
    # Features of length 1 plus BETA times the features as they are, for TEST.METRIC euclidean (new).
    test.BETA_NORM = CfgNode({"ENABLED": False, "BETA": 0.004})
    # In place of the head's pooling: ALPHA times the maximum plus 1 - ALPHA times the mean (new).
    test.MIXED_POOL = CfgNode({"ENABLED": False, "ALPHA": 0.5})
    # In place of the backbone's last ReLU: one that passes SLOPE times what is negative (new).
    test.LEAKY_RELU = CfgNode({"ENABLED": False, "SLOPE": 0.5})
    # More checkpoints than MODEL.WEIGHTS, whose features are set side by side; with --eval-only (new).
    test.ENSEMBLE = []
    test.AQE = CfgNode({"ENABLED": False, "ALPHA": 3.0, "QE_TIME": 1, "QE_K": 5})
    # VARIANT (new): paper, released (its authors' code) or fastreid.
    test.RERANK = CfgNode({"ENABLED": False, "K1": 20, "K2": 6, "LAMBDA": 0.3, "VARIANT": "paper"})
    # Of RetrievalEvaluator: the K of Recall@K, and whether to cluster all features for the NMI (new).
    test.RECALLS = [1, 2, 4, 8]
    test.NMI = CfgNode({"ENABLED": False})
    test.PRECISE_BN = CfgNode({"ENABLED": False, "DATASET": "Market1501", "NUM_ITER": 300})
    return test
