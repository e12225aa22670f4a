"""Optimizers, learning-rate schedules and gradient clipping."""

from fastreid_ext.solver.base_rate import automatic_rate, rate_of_data_size, with_automatic_rate
from fastreid_ext.solver.clip import build_gradient_clipper
from fastreid_ext.solver.optimizer import OPTIMIZERS, build_optimizer
from fastreid_ext.solver.schedule import SCHEDULERS, Schedule, WarmupSchedule, build_lr_scheduler

__all__ = [
    "OPTIMIZERS",
    "SCHEDULERS",
    "Schedule",
    "WarmupSchedule",
    "automatic_rate",
    "build_gradient_clipper",
    "build_lr_scheduler",
    "build_optimizer",
    "rate_of_data_size",
    "with_automatic_rate",
]
