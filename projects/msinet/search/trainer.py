"""Twins-contrastive architecture search, as a training that alternates between two splits."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.data.build import TrainData, build_test_loader, build_train_loader
from fastreid_ext.data.samplers import SamplerError
from fastreid_ext.engine.build import build_loop, wrap_model
from fastreid_ext.engine.hooks import Hook
from fastreid_ext.engine.searches import ARCHITECTURE_SEARCHES, ArchitectureSearch
from fastreid_ext.engine.train_loop import SimpleTrainer
from fastreid_ext.evaluation.evaluator import Results
from fastreid_ext.evaluation.inference import extract_features
from fastreid_ext.projects.msinet.search.checks import check_search
from fastreid_ext.projects.msinet.search.history import ArchitectureHistory
from fastreid_ext.projects.msinet.search.loop import MixedSearchLoop, SearchLoop
from fastreid_ext.projects.msinet.search.network import SearchNetwork
from fastreid_ext.projects.msinet.search.outcome import (
    describe_outcome,
    training_config,
    write_outcome,
)
from fastreid_ext.projects.msinet.search.split import overlap_split
from fastreid_ext.projects.msinet.search.supervision import Split
from fastreid_ext.solver import build_lr_scheduler
from fastreid_ext.utils.dist import is_main_process

__all__ = ["TwinsContrastiveSearch"]


@ARCHITECTURE_SEARCHES.register(source="Gu et al., CVPR 2023, section 3.1")
class TwinsContrastiveSearch(ArchitectureSearch):
    """Searches for MSINet's interactions; the result is a genotype, a training config and the weights' history.

    `SOLVER` is for the weights, `SEARCH.ARCH` for the architecture, whose learning rate follows the same schedule.

    Attributes:
        validation_data: the images from which the architecture learns.

    Raises:
        ConfigError: options that contradict each other or the data.
    """

    model: SearchNetwork
    loop: SearchLoop

    def __init__(self, cfg: CfgNode, *, show_progress: bool = False) -> None:
        check_search(cfg)
        # A recipe that cannot be read must not wait for the end of the search.
        training_config(cfg, genotype="MSINet")
        super().__init__(cfg, show_progress=show_progress)

    def build_train_data(self, cfg: CfgNode) -> TrainData:
        """The training split; the validation split is kept beside it.

        Raises:
            ConfigError: a split would be empty, or `SEARCH.ARCH.SPLIT` is no pair of percentages.
        """
        data = super().build_train_data(cfg)
        train, self.validation_data = overlap_split(data, cfg.SEARCH.ARCH.SPLIT, seed=cfg.SEED)
        for split, part in (("training", train), ("validation", self.validation_data)):
            self.log.info(f"{split} split: {len(part.samples)} images of {part.num_classes} identities")
        return train

    def build_model(self, cfg: CfgNode) -> nn.Module:
        """The super-network, with a memory or classifier for the identities of both splits."""
        counts = [self.data.num_classes, self.validation_data.num_classes]
        given = list(cfg.SEARCH.ARCH.NUM_CLASSES)
        if given not in ([0, 0], counts):
            raise ConfigError(
                f"SEARCH.ARCH.NUM_CLASSES is {given}, but the splits have {counts} identities: add "
                f"'SEARCH.ARCH.NUM_CLASSES [0,0]' to the command to take their numbers"
            )
        cfg = cfg.clone()
        cfg.defrost()
        cfg.SEARCH.ARCH.NUM_CLASSES = counts
        cfg.freeze()
        self.cfg = cfg
        return super().build_model(cfg)

    def build_loop(self, cfg: CfgNode, iters_per_epoch: int) -> SimpleTrainer:
        """The alternating loop."""
        wrapped = wrap_model(cfg, self.model)
        loop = build_loop(
            cfg, wrapped, self.loader, self.optimizer, iters_per_epoch, plain=SearchLoop, mixed=MixedSearchLoop
        )
        assert isinstance(loop, SearchLoop)
        validation_cfg = cfg.clone()
        validation_cfg.defrost()
        # Other draws than those of the training split.
        validation_cfg.SEED = cfg.SEED + 1
        try:
            self.validation_loader, _ = build_train_loader(
                validation_cfg, self.validation_data, device=self.device, stores=self.stores
            )
        except SamplerError as error:
            raise SamplerError(f"validation split: {error}") from error
        node = cfg.SEARCH.ARCH
        self.architecture_optimizer = torch.optim.Adam(
            self.model.backbone.architecture_parameters(),
            lr=node.BASE_LR,
            betas=(node.BETAS[0], node.BETAS[1]),
            weight_decay=node.WEIGHT_DECAY,
        )
        self.architecture_schedule = build_lr_scheduler(cfg, self.architecture_optimizer, iters_per_epoch)
        loop.learn_architecture(
            self.model, self.validation_loader, self.architecture_optimizer, self.architecture_schedule
        )
        return loop

    def build_hooks(self) -> list[Hook]:
        """Those of a training, with the history before the hooks that save."""
        self.history = ArchitectureHistory(
            self.model.backbone,
            self.cfg.OUTPUT_DIR,
            draw_period=self.cfg.SOLVER.CHECKPOINT_PERIOD,
            main_process=is_main_process(),
        )
        return [self.history, *super().build_hooks()]

    def train(self) -> Results:
        """Searches to the end and writes the genotype and the training config."""
        if self.loop.start_iteration == 0:
            self._initialise("train", self.data)
            self._initialise("validation", self.validation_data)
        results = super().train()
        if is_main_process():
            write_outcome(self.cfg, self.model.backbone, images=self._images())
            self.history.write(draw=True)
        return results

    def report(self) -> str:
        """The genotype, the weights behind it, and the command that trains it."""
        return describe_outcome(self.cfg, self.model.backbone)

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "architecture_optimizer": self.architecture_optimizer.state_dict(),
            "architecture_schedule": self.architecture_schedule.state_dict(),
            "validation_sampler": self.validation_loader.stream.state_dict() | {"iteration": self.loop.iteration},
        }

    def load_state_dict(self, state: dict[str, Any], *, source: str) -> None:
        super().load_state_dict(state, source=source)
        self.architecture_optimizer.load_state_dict(state["architecture_optimizer"])
        self.architecture_schedule.load_state_dict(state["architecture_schedule"])
        self.validation_loader.stream.load_state_dict(state["validation_sampler"])

    def _images(self) -> int:
        return len(self.data.samples) + len(self.validation_data.samples)

    def _initialise(self, split: Split, data: TrainData) -> None:
        """Tells the supervision the features of a split as the network of now sees them, without augmentation."""
        cfg = self.cfg.clone()
        cfg.defrost()
        # Each image is needed once.
        cfg.DATALOADER.STORE = "stream"
        cfg.freeze()
        loader = build_test_loader(cfg, data.samples, device=self.device, label=f"{split}-split")
        features = extract_features(self.model, loader)
        pids = torch.tensor([data.samples[index].pid for index in features.indices.tolist()])
        self.model.supervision.initialise(features.values.to(self.device), pids.to(self.device), split)
