"""A training as a trial of a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid_ext.config import CfgNode, get_cfg
from fastreid_ext.config.changes import nested_changes
from fastreid_ext.config.checks import check
from fastreid_ext.engine.trainer import DefaultTrainer
from fastreid_ext.evaluation.evaluator import Results
from fastreid_ext.search.protocols import Job, Json
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.logger import get_logger, logging_to

__all__ = ["SCORE", "TrainingRuns", "as_candidate", "run_folder"]

SCORE = "score"
"""Name of the figure that a sweep calls the best by: the first test set's TEST.BEST_METRIC."""


@dataclass(frozen=True)
class TrainingRuns:
    """Trains what it is given, each in a folder of its own, and goes on with a training that was killed.

    Args:
        folder: of the sweep.
        keep_checkpoints: leave the weights there when a run has ended.
    """

    folder: str
    keep_checkpoints: bool = True

    def __call__(self) -> _Trainings:
        """What trains, for the process that is to do it."""
        keep_freed_memory()
        return _Trainings(Path(self.folder), self.keep_checkpoints)


@dataclass(frozen=True)
class _Trainings:
    folder: Path
    keep_checkpoints: bool

    def __call__(self, job: Job) -> Mapping[str, float]:
        """The figures of the last evaluation by test set and name, such as "Market1501/mAP"."""
        setting, seed = job.candidate["setting"], job.candidate["seed"]
        output = run_folder(self.folder, setting, seed)
        cfg = _config(job.candidate["config"], output)
        with logging_to(output / "log.txt"):
            results = self._train(cfg, resume=(output / "last_checkpoint").is_file())
        if not self.keep_checkpoints:
            for file in [*output.glob("*.pth"), output / "last_checkpoint"]:
                file.unlink(missing_ok=True)
        return _figures(results, cfg)

    @staticmethod
    def _train(cfg: CfgNode, *, resume: bool) -> Results:
        try:
            trainer = DefaultTrainer(cfg)
            trainer.resume_or_load(resume=resume)
            return trainer.train()
        except Exception as error:
            get_logger(__name__).error("this run failed", exc_info=error)
            raise


def as_candidate(setting: str, seed: int, cfg: CfgNode) -> Json:
    """A training as JSON: the keys that differ from the defaults, without the output folder."""
    changes = nested_changes(cfg)
    changes.pop("OUTPUT_DIR", None)
    changes["SEED"] = seed
    return {"setting": setting, "seed": seed, "config": changes}


def run_folder(folder: Path, setting: str, seed: int) -> Path:
    """Where a run of a sweep has its files."""
    return folder / "runs" / setting / f"seed{seed}"


def _config(changes: Mapping[str, Any], output: Path) -> CfgNode:
    cfg = get_cfg(changes.get("PROJECTS", []))
    cfg.merge_from_mapping({**changes, "OUTPUT_DIR": str(output)}, "the sweep")
    check(cfg)
    cfg.freeze()
    return cfg


def _figures(results: Results, cfg: CfgNode) -> dict[str, float]:
    figures = {
        f"{dataset}/{name}": float(value)
        for dataset, metrics in results.items()
        for name, value in metrics.items()
        if isinstance(value, float)
    }
    return {SCORE: figures[f"{cfg.DATASETS.TESTS[0]}/{cfg.TEST.BEST_METRIC}"], **figures}
