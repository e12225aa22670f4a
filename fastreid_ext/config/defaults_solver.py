"""`SOLVER`: optimizer, schedule, checkpoints."""

from __future__ import annotations

from fastreid_ext.config.node import CfgNode

__all__ = ["solver_defaults"]


def solver_defaults() -> CfgNode:
    """A new copy of `SOLVER`."""
    solver = CfgNode()
    # Mixed precision.
    solver.AMP = CfgNode()
    # Turn it on.
    solver.AMP.ENABLED = False
    # bf16, fp16, or "auto": bfloat16 where the GPU has it, else float16; float32 on a CPU (new).
    solver.AMP.DTYPE = "auto"
    # SGD, Adam, AdamW, ...: any class of torch.optim, or a registered one.
    solver.OPT = "Adam"
    # More arguments of the optimizer as ["betas=(0.9, 0.99)"] (new).
    solver.OPT_ARGS = []
    # Epochs of the training.
    solver.MAX_EPOCH = 120
    _add_rates(solver)
    _add_schedule(solver)
    # Iterations for which MODEL.FREEZE_LAYERS stay fixed.
    solver.FREEZE_ITERS = 0
    # Epochs between checkpoints.
    solver.CHECKPOINT_PERIOD = 20
    # Iterations between two lines of the log (new).
    solver.LOG_PERIOD = 50
    # Images of a step over all processes; divided by ACCUMULATION_STEPS for each forward pass.
    solver.IMS_PER_BATCH = 64
    # Forward passes an optimizer step (new).
    solver.ACCUMULATION_STEPS = 1
    _add_gradients(solver)
    # A first stage of training with another task (new).
    solver.FIRST_STAGE = _first_stage()
    # Moving average of the weights, used for evaluation and saved as the model (new).
    solver.EMA = CfgNode()
    # Turn it on (new).
    solver.EMA.ENABLED = False
    # Weight of the old average in each step (new).
    solver.EMA.MOMENTUM = 0.999
    return solver


def _add_rates(solver: CfgNode) -> None:
    # Learning rate behind the warm-up. "auto" (new): what fits the number of training images and of images a step
    # (MoReID, eq. 4).
    solver.BASE_LR = 3e-4
    # Of the heads: their rate over BASE_LR.
    solver.HEADS_LR_FACTOR = 1.0
    # Of SGD.
    solver.MOMENTUM = 0.9
    # Nesterov's momentum, of SGD.
    solver.NESTEROV = False
    # Of weights.
    solver.WEIGHT_DECAY = 5e-4
    # Of norms' weights.
    solver.WEIGHT_DECAY_NORM = 5e-4
    # Of biases: their rate over that of the weights.
    solver.BIAS_LR_FACTOR = 1.0
    # Of biases.
    solver.WEIGHT_DECAY_BIAS = 5e-4


def _add_schedule(solver: CfgNode) -> None:
    # How the rate falls: MultiStepLR, CosineAnnealingLR, or a registered one.
    solver.SCHED = "MultiStepLR"
    # Whether the schedule moves every "epoch" or every "iteration" (new).
    solver.SCHED_INTERVAL = "epoch"
    # Epochs before the cosine begins to fall.
    solver.DELAY_EPOCHS = 0
    # Factor at each of STEPS.
    solver.GAMMA = 0.1
    # Epochs, counted from the start of training, after which MultiStepLR falls.
    solver.STEPS = [30, 55]
    # Where the cosine ends.
    solver.ETA_MIN_LR = 1e-7
    # Share of the rate that the warm-up starts with.
    solver.WARMUP_FACTOR = 0.1
    # Iterations of the warm-up.
    solver.WARMUP_ITERS = 1000
    # How the rate rises: linear, exp, or constant (all at once at the end).
    solver.WARMUP_METHOD = "linear"


def _add_gradients(solver: CfgNode) -> None:
    # Gradient clipping, of all parameters together.
    solver.CLIP_GRADIENTS = CfgNode()
    # Turn it on.
    solver.CLIP_GRADIENTS.ENABLED = False
    # norm or value.
    solver.CLIP_GRADIENTS.CLIP_TYPE = "norm"
    # The largest norm, or value.
    solver.CLIP_GRADIENTS.CLIP_VALUE = 5.0
    # Which norm: 2 for the Euclidean one.
    solver.CLIP_GRADIENTS.NORM_TYPE = 2.0
    # For distributed training in which some weights get no gradient, such as a classifier without its loss (new).
    solver.FIND_UNUSED_PARAMETERS = False


def _first_stage() -> CfgNode:
    stage = CfgNode()
    # The first epochs of MAX_EPOCH; 0 for one stage only (new).
    stage.EPOCHS = 0
    # In place of MODEL.LOSSES.NAME (new).
    stage.LOSSES = ["CrossEntropyLoss"]
    # In place of DATALOADER.SAMPLER_TRAIN (new).
    stage.SAMPLER_TRAIN = "TrainingSampler"
    # In place of SOLVER.BASE_LR, if above 0. The optimizer starts anew when the stage ends (new).
    stage.BASE_LR = 0.0
    return stage
