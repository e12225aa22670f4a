"""Searches for architectures and losses: what they are, their registries, and what builds one from a config."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import torch

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.engine.trainer import DefaultTrainer
from fastreid_ext.registry import Registry

__all__ = [
    "ARCHITECTURE_SEARCHES",
    "LOSS_SEARCHES",
    "ArchitectureSearch",
    "LossSearch",
    "SearchResources",
    "build_architecture_search",
    "build_loss_search",
]

ARCHITECTURE_SEARCHES = Registry("architecture search")
"""Classes called as `Search(cfg, show_progress=...)`: an `ArchitectureSearch`."""

LOSS_SEARCHES = Registry("loss search")
"""Classes called as `Search(cfg, resources=..., show_progress=...)`: a `LossSearch`."""


class ArchitectureSearch(DefaultTrainer):
    """A training that ends with an architecture."""

    def report(self) -> str:
        """What was found, and where it is."""
        raise NotImplementedError(f"{type(self).__name__} does not report what it found")


def build_architecture_search(cfg: CfgNode, *, show_progress: bool = False) -> ArchitectureSearch:
    """The search that `SEARCH.ARCH.NAME` names.

    Raises:
        ConfigError: the config names none.
        RegistryError: there is none of that name.
    """
    if "ARCH" not in cfg.SEARCH:
        raise ConfigError(
            "there is no SEARCH.ARCH: give a --config-file that names a project with an architecture search, such as "
            "projects/msinet/configs/search_msmt.yml"
        )
    search: ArchitectureSearch = ARCHITECTURE_SEARCHES.get(cfg.SEARCH.ARCH.NAME)(cfg, show_progress=show_progress)
    return search


@dataclass(frozen=True)
class SearchResources:
    """Where the trials of a search run.

    Attributes:
        backend: "in-process", "processes" or "ray".
        workers: trials at a time; 0 for as many as this machine has room for.
        cpus_per_trial: processor cores of each.
        gpus_per_trial: GPUs of each, or a part of one; 0 lets all trials see all.
        address: of a Ray cluster; "" starts one on this machine.
    """

    backend: str = "processes"
    workers: int = 0
    cpus_per_trial: int = 1
    gpus_per_trial: float = 0.0
    address: str = ""

    def num_workers(self) -> int:
        """Trials at a time: by GPUs where there are some, else by processor cores."""
        if self.workers:
            return self.workers
        if torch.cuda.is_available():
            return max(1, int(torch.cuda.device_count() / (self.gpus_per_trial or 1)))
        return max(1, (os.cpu_count() or 1) // max(1, self.cpus_per_trial))


class LossSearch(ABC):
    """A search that ends with a loss."""

    @abstractmethod
    def run(self, *, resume: bool = False) -> None:
        """Searches, and writes what was found to the output folder."""

    @abstractmethod
    def run_baselines(self) -> str:
        """Evaluates known losses on the same task; a table."""

    @abstractmethod
    def measure_predictor(self) -> str:
        """How good the search's predictor is on what was recorded; a table."""

    @abstractmethod
    def write_report(self) -> Path:
        """Writes a page to look at, whether the search runs or has ended."""

    @abstractmethod
    def report(self) -> str:
        """What was found, and where it is."""


def build_loss_search(
    cfg: CfgNode, *, resources: SearchResources | None = None, show_progress: bool = False
) -> LossSearch:
    """The search that `SEARCH.LOSS.NAME` names.

    Raises:
        ConfigError: the config names none.
        RegistryError: there is none of that name.
    """
    if "LOSS" not in cfg.SEARCH:
        raise ConfigError(
            "there is no SEARCH.LOSS: give a --config-file that names a project with a loss search, such as "
            "projects/gms/configs/search_market.yml"
        )
    search = LOSS_SEARCHES.get(cfg.SEARCH.LOSS.NAME)
    made: LossSearch = search(cfg, resources=resources, show_progress=show_progress)
    return made
