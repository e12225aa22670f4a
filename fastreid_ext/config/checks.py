"""Options that contradict each other are refused here, before anything is built."""

from __future__ import annotations

import math
from collections.abc import Iterator

from fastreid_ext.config.node import CfgNode, ConfigError

__all__ = ["check", "metrics_of"]


def check(cfg: CfgNode) -> None:
    """Refuses a config that could not train or would not mean what it says.

    Raises:
        ConfigError: lists every fault that was found.
    """
    faults = [
        *_values(cfg),
        *_datasets(cfg),
        *_evaluation(cfg),
        *_classification(cfg),
        *_strategies(cfg),
        *_compat(cfg),
        *_batches(cfg),
        *_set_weights(cfg),
        *_schedule(cfg),
        *_distillation(cfg),
        *_tensorboard(cfg),
    ]
    if faults:
        raise ConfigError("the config contradicts itself:\n  - " + "\n  - ".join(faults))


def _values(cfg: CfgNode) -> Iterator[str]:
    choices = {
        "MODEL.HEADS.NECK_FEAT": (cfg.MODEL.HEADS.NECK_FEAT, ("before", "after")),
        "TEST.RERANK.VARIANT": (cfg.TEST.RERANK.VARIANT, ("paper", "released", "fastreid")),
        "TEST.RERANK.INDEX": (cfg.TEST.RERANK.INDEX, ("", "flat", "ivf", "hnsw", "ivfpq")),
        "TEST.METRIC": (cfg.TEST.METRIC, ("cosine", "euclidean")),
        "SOLVER.SCHED_INTERVAL": (cfg.SOLVER.SCHED_INTERVAL, ("epoch", "iteration")),
        "SOLVER.WARMUP_METHOD": (cfg.SOLVER.WARMUP_METHOD, ("linear", "constant", "exp")),
        "SOLVER.AMP.DTYPE": (cfg.SOLVER.AMP.DTYPE, ("auto", "bf16", "fp16")),
        "SOLVER.CLIP_GRADIENTS.CLIP_TYPE": (cfg.SOLVER.CLIP_GRADIENTS.CLIP_TYPE, ("norm", "value")),
        "DATALOADER.STORE": (cfg.DATALOADER.STORE, ("auto", "device", "pinned", "mmap", "stream")),
        "INPUT.REA.MODE": (cfg.INPUT.REA.MODE, ("const", "rand", "pixel")),
        "INPUT.PADDING.MODE": (cfg.INPUT.PADDING.MODE, ("constant", "edge", "reflect", "symmetric")),
    }
    for key, (value, allowed) in choices.items():
        if value not in allowed:
            yield f"{key} is {value!r}; choose one of {', '.join(allowed)}"
    positive = {
        "SOLVER.MAX_EPOCH": cfg.SOLVER.MAX_EPOCH,
        "SOLVER.IMS_PER_BATCH": cfg.SOLVER.IMS_PER_BATCH,
        "SOLVER.ACCUMULATION_STEPS": cfg.SOLVER.ACCUMULATION_STEPS,
        "SOLVER.LOG_PERIOD": cfg.SOLVER.LOG_PERIOD,
        "TEST.IMS_PER_BATCH": cfg.TEST.IMS_PER_BATCH,
        "DATALOADER.NUM_INSTANCE": cfg.DATALOADER.NUM_INSTANCE,
    }
    for key, value in positive.items():
        if value < 1:
            yield f"{key} is {value}; it must be at least 1"
    sizes = [("INPUT.SIZE_TRAIN", cfg.INPUT.SIZE_TRAIN), ("INPUT.SIZE_TEST", cfg.INPUT.SIZE_TEST)]
    for key, sides in [*sizes, ("INPUT.CROP.SIZE", cfg.INPUT.CROP.SIZE)]:
        if len(sides) != 2 or min(sides) < 1:
            yield f"{key} is {sides}; it takes a height and a width in pixels"
    if cfg.DATALOADER.NUM_WORKERS < 0:
        yield f"DATALOADER.NUM_WORKERS is {cfg.DATALOADER.NUM_WORKERS}; it must be at least 0"
    pad, size = cfg.INPUT.PADDING, cfg.INPUT.CROP.SIZE if cfg.INPUT.CROP.ENABLED else cfg.INPUT.SIZE_TRAIN
    limit = {"reflect": min(size) - 1, "symmetric": min(size)}.get(pad.MODE)
    if pad.ENABLED and limit is not None and limit < pad.SIZE:
        yield f"INPUT.PADDING.SIZE is {pad.SIZE}; MODE {pad.MODE} needs at most {limit} for {size[0]}x{size[1]}"


def _datasets(cfg: CfgNode) -> Iterator[str]:
    if not cfg.DATASETS.NAMES:
        yield "DATASETS.NAMES is empty: there is nothing to train on"
    tests = list(cfg.DATASETS.TESTS)
    for name in sorted({name for name in tests if tests.count(name) > 1}):
        yield f"DATASETS.TESTS names {name} twice"


def metrics_of(cfg: CfgNode) -> tuple[str, ...] | None:
    """The figures that the config's evaluator gives; None for one that is not the toolbox's."""
    known: dict[str, tuple[str, ...]] = {
        "ReidEvaluator": ("mAP", "mINP", "Rank-1", "Rank-5", "Rank-10"),
        "RetrievalEvaluator": ("mAP", "MAP@R", "R-precision", "NMI", *(f"Recall@{k}" for k in cfg.TEST.RECALLS)),
        "ClasEvaluator": ("Acc@1",),
    }
    return known.get(cfg.TEST.EVALUATOR)


def _evaluation(cfg: CfgNode) -> Iterator[str]:
    test, metrics = cfg.TEST, metrics_of(cfg)
    if metrics is not None and test.BEST_METRIC not in metrics:
        yield f"TEST.BEST_METRIC is {test.BEST_METRIC!r}; choose one of {', '.join(metrics)}"
    if test.BEST_METRIC == "NMI" and not test.NMI.ENABLED:
        yield "TEST.BEST_METRIC is 'NMI', but TEST.NMI.ENABLED is off: turn it on"
    if test.NMI.ENABLED and test.EVALUATOR == "ReidEvaluator":
        yield "TEST.NMI.ENABLED is on, but ReidEvaluator measures no NMI: take TEST.EVALUATOR RetrievalEvaluator"
    if not test.RECALLS or not all(isinstance(k, int) and k >= 1 for k in test.RECALLS):
        yield f"TEST.RECALLS is {list(test.RECALLS)}; it takes numbers of images, each at least 1"
    for key, value in (
        ("TEST.AQE.QE_K", test.AQE.QE_K),
        ("TEST.AQE.QE_TIME", test.AQE.QE_TIME),
        ("TEST.RERANK.K1", test.RERANK.K1),
        ("TEST.RERANK.K2", test.RERANK.K2),
    ):
        if value < 1:
            yield f"{key} is {value}; it must be at least 1"
    if not 0 <= test.AQE.ALPHA < math.inf:
        yield f"TEST.AQE.ALPHA is {test.AQE.ALPHA}; it must be a number not below 0"
    if not 0 <= test.RERANK.LAMBDA <= 1:
        yield f"TEST.RERANK.LAMBDA is {test.RERANK.LAMBDA}; it must be between 0 and 1"
    if test.RERANK.INDEX and test.RERANK.VARIANT == "released":
        yield "TEST.RERANK.VARIANT released needs the farthest image, which no index finds: empty TEST.RERANK.INDEX"


def _classification(cfg: CfgNode) -> Iterator[str]:
    if cfg.TEST.EVALUATOR != "ClasEvaluator":
        return
    for name in ("AQE", "RERANK", "ROC", "NMI", "BETA_NORM"):
        if cfg.TEST[name].ENABLED:
            yield f"TEST.{name}.ENABLED is on, but ClasEvaluator compares no images: turn it off"
    if cfg.TEST.ENSEMBLE:
        yield "TEST.ENSEMBLE sets embeddings side by side, but ClasEvaluator takes the logits of one model: empty it"


def _compat(cfg: CfgNode) -> Iterator[str]:
    compat, inner = cfg.COMPAT, cfg.MODEL.BACKBONE.NON_LOCAL_CHANNELS
    if compat.RERANK and cfg.TEST.RERANK.VARIANT == "released":
        yield "COMPAT.RERANK asks for FastReID's re-ranking, TEST.RERANK.VARIANT for the released one: drop one of them"
    if compat.ONE_CHANNEL_NON_LOCAL and inner not in (0, 1):
        yield f"COMPAT.ONE_CHANNEL_NON_LOCAL is on, but MODEL.BACKBONE.NON_LOCAL_CHANNELS is {inner}: drop one of them"
    if compat.SCHEDULE_AFTER_WARMUP and cfg.SOLVER.SCHED_INTERVAL != "epoch":
        yield "COMPAT.SCHEDULE_AFTER_WARMUP counts whole epochs: set SOLVER.SCHED_INTERVAL epoch, or turn it off"


def _strategies(cfg: CfgNode) -> Iterator[str]:
    test = cfg.TEST
    if not 0 <= test.MIXED_POOL.ALPHA <= 1:
        yield f"TEST.MIXED_POOL.ALPHA is {test.MIXED_POOL.ALPHA}; it must be between 0 and 1"
    if not 0 <= test.BETA_NORM.BETA < math.inf:
        yield f"TEST.BETA_NORM.BETA is {test.BETA_NORM.BETA}; it must be a number not below 0"
    if not 0 <= test.LEAKY_RELU.SLOPE < math.inf:
        yield f"TEST.LEAKY_RELU.SLOPE is {test.LEAKY_RELU.SLOPE}; it must be a number not below 0"
    if test.BETA_NORM.ENABLED and test.METRIC != "euclidean":
        yield (
            "TEST.BETA_NORM changes the length of features, which TEST.METRIC cosine does not see: "
            "set TEST.METRIC euclidean"
        )


def _batches(cfg: CfgNode) -> Iterator[str]:
    batch, passes = cfg.SOLVER.IMS_PER_BATCH, max(1, cfg.SOLVER.ACCUMULATION_STEPS)
    if batch % passes:
        yield f"SOLVER.IMS_PER_BATCH {batch} is not a multiple of SOLVER.ACCUMULATION_STEPS {passes}"
    instances = max(1, cfg.DATALOADER.NUM_INSTANCE)
    by_image = ("TrainingSampler", "ImbalancedDatasetSampler")
    if cfg.DATALOADER.SAMPLER_TRAIN not in by_image and (batch // passes) % instances:
        yield (
            f"a forward pass of {batch // passes} images cannot hold whole identities of "
            f"DATALOADER.NUM_INSTANCE {instances} images: make one a multiple of the other"
        )


def _set_weights(cfg: CfgNode) -> Iterator[str]:
    weights, names = list(cfg.DATALOADER.SET_WEIGHT), list(cfg.DATASETS.NAMES)
    stage = cfg.SOLVER.FIRST_STAGE
    if "SetReWeightSampler" not in (cfg.DATALOADER.SAMPLER_TRAIN, stage.SAMPLER_TRAIN if stage.EPOCHS else ""):
        if weights:
            yield (
                f"DATALOADER.SET_WEIGHT is {weights}, but {cfg.DATALOADER.SAMPLER_TRAIN} weighs no data sets: set "
                f"DATALOADER.SAMPLER_TRAIN SetReWeightSampler, or empty it"
            )
    elif len(weights) != len(names):
        yield (
            f"DATALOADER.SET_WEIGHT has {len(weights)} weights for the {len(names)} data sets of DATASETS.NAMES "
            f"({', '.join(names)}): SetReWeightSampler takes one for each, in their order"
        )
    elif not all(isinstance(weight, (int, float)) and 0 <= weight < math.inf for weight in weights) or not any(weights):
        yield f"DATALOADER.SET_WEIGHT is {weights}; it takes numbers, none below 0 and not all 0"


def _schedule(cfg: CfgNode) -> Iterator[str]:
    solver = cfg.SOLVER
    if solver.SCHED == "CosineAnnealingLR" and solver.DELAY_EPOCHS >= solver.MAX_EPOCH > 0:
        yield (
            f"SOLVER.DELAY_EPOCHS {solver.DELAY_EPOCHS} leaves no epoch of SOLVER.MAX_EPOCH {solver.MAX_EPOCH} "
            f"for the cosine"
        )
    if solver.EMA.ENABLED and cfg.TEST.PRECISE_BN.ENABLED:
        yield "SOLVER.EMA averages batch-norm statistics already: turn it or TEST.PRECISE_BN off"
    first = solver.FIRST_STAGE
    if not 0 <= first.EPOCHS < max(1, solver.MAX_EPOCH):
        yield (
            f"SOLVER.FIRST_STAGE.EPOCHS is {first.EPOCHS}; it must be at least 0 and leave an epoch of "
            f"SOLVER.MAX_EPOCH {solver.MAX_EPOCH}"
        )
    if first.EPOCHS and not first.LOSSES:
        yield "SOLVER.FIRST_STAGE.LOSSES is empty: there is nothing to train the first stage with"
    if not 0 <= first.BASE_LR < math.inf:
        yield f"SOLVER.FIRST_STAGE.BASE_LR is {first.BASE_LR}; it must be positive, or 0 for SOLVER.BASE_LR"
    if list(solver.STEPS) != sorted(solver.STEPS):
        yield f"SOLVER.STEPS {list(solver.STEPS)} must rise"
    if solver.AMP.ENABLED and solver.AMP.DTYPE == "fp16" and cfg.MODEL.DEVICE.startswith("cpu"):
        yield "SOLVER.AMP.DTYPE fp16 needs a GPU; take bf16 on a CPU, or turn SOLVER.AMP.ENABLED off"


def _distillation(cfg: CfgNode) -> Iterator[str]:
    kd, distills = cfg.KD, cfg.MODEL.META_ARCHITECTURE == "Distiller"
    if len(kd.MODEL_CONFIG) != len(kd.MODEL_WEIGHTS):
        yield (
            f"KD.MODEL_CONFIG names {len(kd.MODEL_CONFIG)} teachers and KD.MODEL_WEIGHTS {len(kd.MODEL_WEIGHTS)}: "
            f"each needs a config and a checkpoint"
        )
    if (kd.MODEL_CONFIG or kd.EMA.ENABLED) and not distills:
        yield "KD is on, but only META_ARCHITECTURE Distiller has teachers: set it, or empty KD"
    if distills and not (kd.MODEL_CONFIG or kd.EMA.ENABLED):
        yield "a Distiller needs a teacher: name some in KD.MODEL_CONFIG, or set KD.EMA.ENABLED True"
    if not 0 < kd.TEMPERATURE < math.inf:
        yield f"KD.TEMPERATURE is {kd.TEMPERATURE}; it must be positive"
    if not all((*kd.MODEL_CONFIG, *kd.MODEL_WEIGHTS)):
        yield "KD.MODEL_CONFIG and KD.MODEL_WEIGHTS name files: an empty name is none"
    if not 0 <= kd.EMA.MOMENTUM <= 1:
        yield f"KD.EMA.MOMENTUM is {kd.EMA.MOMENTUM}; it must be between 0 and 1"


def _tensorboard(cfg: CfgNode) -> Iterator[str]:
    board = cfg.TENSORBOARD
    for key in ("IMAGES", "IMAGES_PERIOD"):
        if board[key] < 0:
            yield f"TENSORBOARD.{key} is {board[key]}; it must be at least 0"
    # All thumbnails are in one picture, of which browsers take 8192 x 8192 pixels.
    if not 4 <= board.PROJECTOR_IMAGES <= 16384:
        yield f"TENSORBOARD.PROJECTOR_IMAGES is {board.PROJECTOR_IMAGES}; it must be between 4 and 16384"
