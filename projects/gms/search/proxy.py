"""The proxy task: a short training with a loss, scored on identities that it has not seen."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fastreid_ext import projects
from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.data.build import build_train_data, build_train_loader
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.engine import hooks
from fastreid_ext.engine.build import build_loop, wrap_model
from fastreid_ext.engine.hooks import Hook
from fastreid_ext.evaluation.evaluator import evaluate, evaluate_features
from fastreid_ext.evaluation.feature_set import FeatureSet, test_samples
from fastreid_ext.evaluation.inference import Features
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.meta_arch import choose_device
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.search.split import proxy_split
from fastreid_ext.search.protocols import Job
from fastreid_ext.solver import build_lr_scheduler, build_optimizer, with_automatic_rate
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.rng import seed_everything

__all__ = ["UNREADABLE", "ProxyFactory", "ProxyTask", "TimeLimitError", "with_loss"]

UNREADABLE = "unreadable images"
"""Among a trial's figures: training images that were replaced by others."""


@dataclass(frozen=True)
class ProxyFactory:
    """Makes the proxy task in the process that is to run it."""

    cfg: CfgNode

    def __call__(self) -> ProxyTask:
        """The task, with its data read."""
        keep_freed_memory()
        return ProxyTask(self.cfg)


class TimeLimitError(Exception):
    """A trial took longer than `SEARCH.LOSS.TIME_LIMIT`."""


class ProxyTask:
    """Trains a model with a candidate loss and returns its figures on the validation identities.

    The config is that of the training; images are decoded once for all trials.

    Args:
        cfg: of the search.

    Raises:
        ConfigError: too few identities.
    """

    def __init__(self, cfg: CfgNode) -> None:
        for name in cfg.PROJECTS:
            projects.load(name)
        data = build_train_data(cfg)
        self.data, self.validation = proxy_split(data, cfg.SEARCH.LOSS.TRAIN_SHARE, seed=cfg.SEED)
        self._check_batches(cfg)
        self.cfg = cfg
        self.stores = ImageStores.from_config(cfg, choose_device(cfg.MODEL.DEVICE))
        self.stores.progress = False

    def figures(self) -> list[str]:
        """Names of what a trial returns."""
        names = dict.fromkeys((*_names(self._evaluated_at_random()), UNREADABLE))
        return list(names)

    def __call__(self, job: Job) -> Mapping[str, float]:
        """The figures in percent.

        Raises:
            NonFiniteLossError: the training went astray.
            TimeLimitError: it took too long.
        """
        cfg = self._config(Candidate.from_json(job.candidate), job.seed)
        seed_everything(job.seed)
        model = build_model(cfg)
        device = next(model.parameters()).device
        loader, sampler = build_train_loader(cfg, self.data, device=device, stores=self.stores)
        optimizer = build_optimizer(cfg, model)
        loop = build_loop(cfg, wrap_model(cfg, model), loader, optimizer, sampler.batches_per_epoch)
        of_loop: list[Hook] = [
            hooks.LRScheduler(build_lr_scheduler(cfg, optimizer, sampler.batches_per_epoch)),
            _Deadline(cfg.SEARCH.LOSS.TIME_LIMIT),
        ]
        if cfg.MODEL.FREEZE_LAYERS and cfg.SOLVER.FREEZE_ITERS > 0:
            of_loop.append(hooks.LayerFreeze(model, cfg.MODEL.FREEZE_LAYERS, cfg.SOLVER.FREEZE_ITERS))
        loop.register_hooks(of_loop)
        loop.train()
        figures = evaluate(cfg, model, [self.validation], stores=self.stores)[self.validation.spec]
        return {name: figures[name] for name in _names(figures)} | {UNREADABLE: float(len(loader.unreadable))}

    def _evaluated_at_random(self) -> Mapping[str, Any]:
        samples = test_samples(self.validation)
        features = Features(torch.randn(len(samples), 2), torch.arange(len(samples)), [])
        feature_set = FeatureSet.of(self.validation, samples, features)
        return evaluate_features(self.cfg, [feature_set])[self.validation.spec]

    def _config(self, candidate: Candidate, seed: int) -> CfgNode:
        cfg = with_loss(self.cfg, candidate)
        cfg.MODEL.HEADS.NUM_CLASSES = self.data.num_classes
        cfg.SEED = seed
        return with_automatic_rate(cfg, len(self.data.samples))

    def _check_batches(self, cfg: CfgNode) -> None:
        needed = cfg.SOLVER.IMS_PER_BATCH // cfg.DATALOADER.NUM_INSTANCE
        if "Identity" in cfg.DATALOADER.SAMPLER_TRAIN and self.data.num_classes < needed:
            raise ConfigError(
                f"a batch of SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} images takes {needed} identities, but the "
                f"proxy task trains with {self.data.num_classes}: lower it, or raise SEARCH.LOSS.TRAIN_SHARE"
            )


def with_loss(cfg: CfgNode, candidate: Candidate) -> CfgNode:
    """A copy of a config, not frozen, whose classification layer is a candidate."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.HEADS.CLS_LAYER = "GMSSoftmax"
    cfg.MODEL.GMS.TARGET, cfg.MODEL.GMS.NONTARGET = str(candidate.target), str(candidate.nontarget)
    cfg.MODEL.GMS.LOG2_SCALE = candidate.log2_scale
    return cfg


def _names(figures: Mapping[str, Any]) -> list[str]:
    return [name for name, value in figures.items() if isinstance(value, float)]


class _Deadline(Hook):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def before_train(self) -> None:
        self.started = time.monotonic()

    def after_step(self) -> None:
        if 0 < self.seconds < time.monotonic() - self.started:
            raise TimeLimitError(f"time limit of {self.seconds:g} s: {self.trainer.iteration} steps were done")
