"""What happens beside training steps, a file each."""

from fastreid_ext.engine.hooks.base import Hook
from fastreid_ext.engine.hooks.batch_images import BatchImages
from fastreid_ext.engine.hooks.best import BestCheckpointer
from fastreid_ext.engine.hooks.checkpoint import PeriodicCheckpointer
from fastreid_ext.engine.hooks.ema import WeightAverage
from fastreid_ext.engine.hooks.evaluation import EvalHook
from fastreid_ext.engine.hooks.first_stage import FirstStage
from fastreid_ext.engine.hooks.freeze import LayerFreeze
from fastreid_ext.engine.hooks.interrupt import InterruptHandler, TrainingInterrupted
from fastreid_ext.engine.hooks.lr import LRScheduler
from fastreid_ext.engine.hooks.model_step import ModelStep
from fastreid_ext.engine.hooks.precise_bn import PreciseBN
from fastreid_ext.engine.hooks.progress import ProgressBar
from fastreid_ext.engine.hooks.projector import Projector
from fastreid_ext.engine.hooks.similar_classes import SimilarClasses, similar_classes_hook
from fastreid_ext.engine.hooks.timer import IterationTimer
from fastreid_ext.engine.hooks.writers import PeriodicWriter

__all__ = [
    "BatchImages",
    "BestCheckpointer",
    "EvalHook",
    "FirstStage",
    "Hook",
    "InterruptHandler",
    "IterationTimer",
    "LRScheduler",
    "LayerFreeze",
    "ModelStep",
    "PeriodicCheckpointer",
    "PeriodicWriter",
    "PreciseBN",
    "ProgressBar",
    "Projector",
    "SimilarClasses",
    "TrainingInterrupted",
    "WeightAverage",
    "similar_classes_hook",
]
