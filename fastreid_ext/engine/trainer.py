"""`DefaultTrainer`: everything that a config says about a training, put together."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fastreid_ext import projects
from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.data.build import TrainData, build_test_sets, build_train_data, build_train_loader
from fastreid_ext.data.datasets import ReIDDataset
from fastreid_ext.data.image_store import ImageStores
from fastreid_ext.engine import hooks
from fastreid_ext.engine.build import build_loop, wrap_model
from fastreid_ext.engine.checkpoint import Checkpointer, CheckpointError, load_weights, read_checkpoint
from fastreid_ext.engine.completed_config import completed_config
from fastreid_ext.engine.hooks import Hook
from fastreid_ext.engine.resume import check_resumed_config
from fastreid_ext.engine.train_loop import AMPTrainer, NonFiniteLossError, SimpleTrainer
from fastreid_ext.evaluation.evaluator import Results, build_evaluator, evaluate
from fastreid_ext.evaluation.strategies import check_strategies
from fastreid_ext.modeling import build_model
from fastreid_ext.modeling.losses import Criterion
from fastreid_ext.solver import build_lr_scheduler, build_optimizer
from fastreid_ext.utils.dist import all_gather_objects, broadcast_buffers, get_rank, get_world_size, is_main_process
from fastreid_ext.utils.files import atomic_write, write_json
from fastreid_ext.utils.logger import get_logger
from fastreid_ext.utils.rng import get_rng_state, seed_everything, set_rng_state

__all__ = ["DefaultTrainer"]


class DefaultTrainer:
    """Builds data, model, optimizer and hooks from a config and trains.

    Override `build_model`, `build_train_data`, `build_test_data`, `build_loop` or `build_hooks` for what a config
    cannot say.

    Args:
        cfg: resolved config; `MODEL.HEADS.NUM_CLASSES` 0 becomes the number of training identities.
        show_progress: draw a progress bar instead of printing lines.

    Attributes:
        cfg: the config with the number of classes filled in.
        model: the bare model, whose state checkpoints hold.
        loop: the training loop; its `train` runs the steps.

    Raises:
        ConfigError: the number of classes contradicts the data, or parts do not fit together.
    """

    def __init__(self, cfg: CfgNode, *, show_progress: bool = False) -> None:
        self.log = get_logger(__name__)
        # A process that got the config from another one has not loaded its projects.
        for name in cfg.PROJECTS:
            projects.load(name)
        seed_everything(cfg.SEED)
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
        self.data = self.build_train_data(cfg)
        self.test_data = self.build_test_data(cfg)
        self.cfg = completed_config(cfg, self.data)
        self.model = self.build_model(self.cfg)
        self.device = next(self.model.parameters()).device
        # Initial weights are the same on all ranks; what is drawn in training is not.
        seed_everything(cfg.SEED + get_rank())
        self.stores = ImageStores.from_config(self.cfg, self.device)
        self.loader, sampler = build_train_loader(self.cfg, self.data, device=self.device, stores=self.stores)
        self.optimizer = build_optimizer(self.cfg, self.model)
        self.loop = self.build_loop(self.cfg, sampler.batches_per_epoch)
        self.checkpointer = Checkpointer(cfg.OUTPUT_DIR)
        self.scheduler = build_lr_scheduler(self.cfg, self.optimizer, sampler.batches_per_epoch)
        if self.loop.max_iterations <= cfg.SOLVER.WARMUP_ITERS:
            self.log.warning(
                f"SOLVER.WARMUP_ITERS {cfg.SOLVER.WARMUP_ITERS}: this run of {self.loop.max_iterations} steps ends "
                f"before its learning rate is reached"
            )
        self.show_progress = show_progress
        self.loop.register_hooks(self.build_hooks())

    def build_model(self, cfg: CfgNode) -> nn.Module:
        """The model on its device."""
        return build_model(cfg)

    def build_train_data(self, cfg: CfgNode) -> TrainData:
        """The training samples."""
        return build_train_data(cfg)

    def build_test_data(self, cfg: CfgNode) -> list[ReIDDataset]:
        """The data sets of every evaluation."""
        return build_test_sets(cfg)

    def build_loop(self, cfg: CfgNode, iters_per_epoch: int) -> SimpleTrainer:
        """The loop, whose steps take `self.model`, `self.loader` and `self.optimizer`."""
        return build_loop(cfg, wrap_model(cfg, self.model), self.loader, self.optimizer, iters_per_epoch)

    def build_hooks(self) -> list[Hook]:
        """The hooks in the order in which they are called."""
        cfg, solver = self.cfg, self.cfg.SOLVER
        self.average = hooks.WeightAverage(self.model, solver.EMA.MOMENTUM) if solver.EMA.ENABLED else None
        # A mistake in the options of an evaluation must not wait for the end of the training.
        evaluator = build_evaluator(cfg)
        check_strategies(cfg, self.model)
        for dataset in self.test_data:
            evaluator.check_sizes(dataset)
        self.eval_hook = hooks.EvalHook(
            self.test, cfg.TEST.EVAL_PERIOD, before_training=cfg.TEST.EVAL_UNTRAINED, swapped=self._averaged
        )
        writes, board = is_main_process(), cfg.TENSORBOARD
        self.projector = hooks.Projector.from_config(cfg) if writes and board.PROJECTOR else None
        self.saver = hooks.PeriodicCheckpointer(
            self.checkpointer, self.state_dict, solver.CHECKPOINT_PERIOD, main_process=writes
        )
        built: list[Hook] = [hooks.IterationTimer(solver.IMS_PER_BATCH), hooks.LRScheduler(self.scheduler)]
        if cfg.MODEL.FREEZE_LAYERS and solver.FREEZE_ITERS > 0:
            built.append(hooks.LayerFreeze(self.model, cfg.MODEL.FREEZE_LAYERS, solver.FREEZE_ITERS))
        built += self._stages()
        if self.average is not None:
            built.append(self.average)
        if cfg.TEST.PRECISE_BN.ENABLED:
            # Of the stage that training ends with.
            start = solver.FIRST_STAGE.EPOCHS * self.loop.iters_per_epoch
            batches, _ = build_train_loader(
                cfg, self.data, device=self.device, stores=self.stores, start_iteration=start
            )
            built.append(hooks.PreciseBN(self.model, batches, cfg.TEST.PRECISE_BN.NUM_ITER, cfg.TEST.EVAL_PERIOD))
        self.best: hooks.BestCheckpointer | None = None
        if self.test_data:
            metric = f"{self.test_data[0].spec}/{cfg.TEST.BEST_METRIC}"
            self.best = hooks.BestCheckpointer(
                self.checkpointer, self._weights, metric, swapped=self._averaged, main_process=writes
            )
            built += [self.eval_hook, self.best]
        if writes:
            writer = hooks.PeriodicWriter(cfg.OUTPUT_DIR, solver.LOG_PERIOD, file_only=self.show_progress)
            built += [writer, *([self.projector] if self.projector else [])]
            if board.IMAGES:
                built.append(hooks.BatchImages.from_config(cfg, writer, self.loop.model))
            built += [hooks.ProgressBar()] if self.show_progress else []
        return [*built, self.saver, hooks.InterruptHandler(self.saver.save)]

    def _stages(self) -> list[Hook]:
        """What changes from epoch to epoch: the losses of two stages, and which identities are similar."""
        stage, criterion = self.cfg.SOLVER.FIRST_STAGE, getattr(self.model, "criterion", None)
        similar = hooks.similar_classes_hook(self.model, self.loader)
        changing: list[Hook] = [] if similar is None else [similar]
        if not stage.EPOCHS:
            return changing
        if not isinstance(criterion, Criterion):
            raise ConfigError(
                f"SOLVER.FIRST_STAGE has losses of its own, but {self.cfg.MODEL.META_ARCHITECTURE} has no criterion "
                f"that could change them: set SOLVER.FIRST_STAGE.EPOCHS 0"
            )
        return [*changing, hooks.FirstStage(criterion, self.optimizer, stage.EPOCHS * self.loop.iters_per_epoch)]

    def resume_or_load(self, resume: bool | str = False) -> None:
        """Continues a run, or starts from `MODEL.WEIGHTS`.

        Args:
            resume: True for the newest checkpoint of `OUTPUT_DIR`, if there is one; or the path of a checkpoint.

        Raises:
            CheckpointError: the file cannot be read or is of another model.
            ConfigError: the config has changed in what the run depends on.
        """
        self._resume_or_load(resume)
        starts = all_gather_objects(self.loop.start_iteration)
        if len(set(starts)) > 1:
            raise CheckpointError(
                f"the processes would start at different iterations {starts}: all need the same folder as OUTPUT_DIR"
            )

    def _resume_or_load(self, resume: bool | str) -> None:
        if isinstance(resume, str):
            self.load_state_dict(read_checkpoint(resume), source=resume)
            return
        found = self.checkpointer.load_last() if resume else None
        if found is not None:
            path, state = found
            self.load_state_dict(state, source=str(path))
            return
        if resume:
            self.log.warning(f"no checkpoint in {self.cfg.OUTPUT_DIR} to resume from: starting anew")
        if is_main_process():
            self.checkpointer.start_anew()
        if self.cfg.MODEL.WEIGHTS:
            path = self.cfg.MODEL.WEIGHTS
            report = load_weights(self.model, read_checkpoint(path), source=path, memories=False)
            (self.log.warning if report.other_shape else self.log.info)(f"{path}: {report}")

    def train(self) -> Results:
        """Trains to the end and returns the final results, which are also in `results.json`.

        Raises:
            NonFiniteLossError: a loss is not finite; the weights before that step are in `model_nonfinite.pth`.
            UnreadableImagesError, ValueError: the last evaluation failed; the model is saved.
            TrainingInterrupted: on SIGINT or SIGTERM, after saving.
        """
        if is_main_process():
            with atomic_write(Path(self.cfg.OUTPUT_DIR) / "config.yaml") as file:
                file.write(self.cfg.dump())
        if self.loop.start_iteration >= self.loop.max_iterations:
            self.log.info("this run is finished: nothing to train, evaluating its last checkpoint")
            self.eval_hook.evaluate_now()
            if not (Path(self.cfg.OUTPUT_DIR) / "model_final.pth").is_file():
                self.saver.save("model_final")
        else:
            try:
                self.loop.train()
            except NonFiniteLossError as error:
                path = self.checkpointer.save("model_nonfinite", self._weights(), resumable=False)
                self.log.error(f"{error}\nThe model as it was then is in {path}.")
                raise
        if self.eval_hook.error is not None:
            raise self.eval_hook.error
        results = {
            dataset: {**metrics, **_if_any("untrained", self.eval_hook.untrained.get(dataset))}
            for dataset, metrics in self.eval_hook.results.items()
        }
        if is_main_process():
            write_json(Path(self.cfg.OUTPUT_DIR) / "results.json", results)
        return results

    def test(self) -> Results:
        """Evaluates the model as it is on all test sets."""
        broadcast_buffers(self.model)
        return evaluate(
            self.cfg,
            self.model,
            self.test_data,
            trained_on=self.data.datasets,
            stores=self.stores,
            on_features=self.projector,
        )

    def unreadable_images(self) -> dict[str, str]:
        """Training images that could not be read on any rank, and why."""
        return {path: reason for found in all_gather_objects(self.loader.unreadable) for path, reason in found.items()}

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to equal an uninterrupted one; every rank must call it."""
        scaler = self.loop.scaler.state_dict() if isinstance(self.loop, AMPTrainer) else {}
        weights = self._weights()
        if self.average is not None:
            # "model" is what was evaluated; training goes on with its own weights.
            weights |= {"training_model": weights["model"], "model": self.average.average}
        return {
            **weights,
            "optimizer": self.optimizer.state_dict(),
            "scaler": scaler,
            "hooks": {type(hook).__name__: hook.state_dict() for hook in self.loop.hooks if hook.state_dict()},
            "rng": all_gather_objects(get_rng_state()),
            "sampler": self.loader.stream.state_dict() | {"iteration": self.loop.iteration},
        }

    def load_state_dict(self, state: dict[str, Any], *, source: str) -> None:
        """Takes back what `state_dict` returned."""
        if not {"optimizer", "config", "hooks", "rng", "sampler", "iteration"} <= state.keys():
            raise ConfigError(
                f"{source} is no checkpoint of a run of ours that can be resumed: start from it with MODEL.WEIGHTS"
            )
        for line in check_resumed_config(state["config"], self.cfg):
            self.log.warning(f"changed since {source}: {line}")
        report = load_weights(self.model, {"model": state.get("training_model", state["model"])}, source=source)
        if not report.fits:
            raise CheckpointError(f"{source} does not fit the model of this run: {report}")
        self.optimizer.load_state_dict(state["optimizer"])
        if isinstance(self.loop, AMPTrainer) and state["scaler"]:
            self.loop.scaler.load_state_dict(state["scaler"])
        for hook in self.loop.hooks:
            if type(hook).__name__ in state["hooks"]:
                hook.load_state_dict(state["hooks"][type(hook).__name__])
        if len(state["rng"]) == get_world_size():
            set_rng_state(state["rng"][get_rank()])
        else:
            self.log.warning(f"saved by {len(state['rng'])} processes: what {get_world_size()} draw at random differs")
        self.loader.stream.load_state_dict(state["sampler"])
        self.loop.start_iteration = self.loop.iteration = state["iteration"]
        self.log.info(f"resumed from {source} at iteration {state['iteration']} of {self.loop.max_iterations}")

    def _weights(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "iteration": self.loop.iteration,
            "epoch": self.loop.iteration // self.loop.iters_per_epoch,
            "config": self.cfg.dump(),
        }

    def _averaged(self) -> AbstractContextManager[None]:
        return self.average.swapped() if self.average is not None else nullcontext()


def _if_any(key: str, value: Any) -> dict[str, Any]:
    return {key: value} if value else {}
