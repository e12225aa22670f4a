"""A training as a trial of a search."""

from __future__ import annotations

import gc
import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.engine.sweep.candidates import config_from, identity, run_folder
from fastreid_ext.engine.trainer import DefaultTrainer
from fastreid_ext.evaluation.evaluator import Results
from fastreid_ext.search.protocols import Job, Json
from fastreid_ext.utils.allocator import keep_freed_memory
from fastreid_ext.utils.files import write_json
from fastreid_ext.utils.logger import get_logger, logging_to

__all__ = ["SCORE", "TrainingRuns"]

SCORE = "score"
"""Name of the figure that a sweep calls the best by: the first test set's TEST.BEST_METRIC."""

_DESCRIPTION = "run.json"


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
        # The run before has left its model and its threads to the collector, which does not know what they weigh.
        gc.collect()
        output = run_folder(self.folder, job.candidate)
        cfg = config_from(job.candidate["config"], OUTPUT_DIR=str(output))
        resume = (output / "last_checkpoint").is_file() and _is_of(output, job.candidate)
        write_json(output / _DESCRIPTION, job.candidate)
        with logging_to(output / "log.txt"):
            results = _train(cfg, resume=resume)
        if not self.keep_checkpoints:
            for file in [*output.glob("*.pth"), output / "last_checkpoint"]:
                file.unlink(missing_ok=True)
        return _figures(results, cfg)


def _is_of(output: Path, candidate: Json) -> bool:
    """Whether the folder is that of this run, and not of one whose config has been mended since."""
    file = output / _DESCRIPTION
    return file.is_file() and identity(json.loads(file.read_text(encoding="utf-8"))) == identity(candidate)


def _train(cfg: CfgNode, *, resume: bool) -> Results:
    try:
        trainer = DefaultTrainer(cfg)
        trainer.resume_or_load(resume=resume)
        return trainer.train()
    except Exception as error:
        # As text: a record with the traceback itself would keep the whole training alive.
        get_logger(__name__).error(f"this run failed\n{traceback.format_exc()}")
        if isinstance(error, ConfigError):
            # A failure is told in one line, and what this error is about stands in the others.
            raise ConfigError(" ".join(str(error).split())) from error
        raise


def _figures(results: Results, cfg: CfgNode) -> dict[str, float]:
    figures = {
        f"{dataset}/{name}": float(value)
        for dataset, metrics in results.items()
        for name, value in metrics.items()
        if isinstance(value, float)
    }
    return {SCORE: figures[f"{cfg.DATASETS.TESTS[0]}/{cfg.TEST.BEST_METRIC}"], **figures}
