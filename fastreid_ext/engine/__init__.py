"""Training: the loop, its hooks, checkpoints, and the command-line programs."""

from fastreid_ext.engine.train_loop import AMPTrainer, NonFiniteLossError, SimpleTrainer, TrainerBase
from fastreid_ext.engine.trainer import DefaultTrainer

__all__ = ["AMPTrainer", "DefaultTrainer", "NonFiniteLossError", "SimpleTrainer", "TrainerBase"]
