"""Trains every setting with every seed, and tells what came out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastreid_ext.config import ConfigError
from fastreid_ext.config.changes import below, differences
from fastreid_ext.data.build import build_train_data
from fastreid_ext.data.datasets import build_dataset
from fastreid_ext.engine.searches import SearchResources
from fastreid_ext.engine.sweep.plan import Setting
from fastreid_ext.engine.sweep.results import SettingResult
from fastreid_ext.engine.sweep.training_run import SCORE, TrainingRuns, as_candidate
from fastreid_ext.search.backends import build_backend
from fastreid_ext.search.driver import Search
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.listed import ListedCandidates
from fastreid_ext.search.progress import ShowProgress
from fastreid_ext.search.protocols import Json, Trial
from fastreid_ext.search.trials import TrialStore

__all__ = ["Sweep"]

# What may be changed between two parts of a sweep, as it does not change a run's figures.
_FREE = (
    "MODEL.DEVICE",
    "DATALOADER.STORE",
    "DATALOADER.STORE_DIR",
    "DATALOADER.NUM_WORKERS",
    "DATASETS.ROOT",
    "SOLVER.LOG_PERIOD",
    "SOLVER.CHECKPOINT_PERIOD",
    "TEST.IMS_PER_BATCH",
)


@dataclass(frozen=True)
class Sweep:
    """Many trainings and their results, in one folder: `trials.sqlite`, and `runs/<setting>/seed<n>/` of each.

    Args:
        folder: of the sweep.
        settings: what is trained.
        num_seeds: of each setting; the first is the config's SEED, the others follow.
        resources: where runs are trained.
        keep_checkpoints: leave the weights of ended runs there.
        show_progress: draw a progress bar instead of printing lines.
    """

    folder: Path
    settings: Sequence[Setting]
    num_seeds: int = 3
    resources: SearchResources = field(default_factory=SearchResources)
    keep_checkpoints: bool = True
    show_progress: bool = False

    @property
    def file(self) -> Path:
        """Of all runs and their results."""
        return self.folder / "trials.sqlite"

    def run(self, *, resume: bool = False) -> None:
        """Trains what has not been trained yet.

        Args:
            resume: go on with the sweep in the folder: runs that failed are tried again, and settings and seeds that
                it did not have are added.

        Raises:
            SearchStopped: on Ctrl-C or SIGTERM; what has ended is in the file.
            SearchError: there is a sweep already, or none to resume, or the file is damaged.
            ConfigError: a run of the file has another config, or data that are not there.
        """
        self._check(resume=resume)
        resources = self.resources
        with (
            build_backend(
                resources.backend,
                TrainingRuns(str(self.folder.resolve()), self.keep_checkpoints),
                workers=resources.num_workers(),
                cpus_per_trial=resources.cpus_per_trial,
                gpus_per_trial=resources.gpus_per_trial,
                address=resources.address,
            ) as backend,
            TrialStore.open(self.file) if resume else TrialStore.create(self.file) as store,
            ShowProgress(bar=self.show_progress) as show,
        ):
            # Runs are counted from the file, so that a list that has grown is gone on with.
            store.set_meta(strategy=None)
            missing = self._missing(_newest(store))
            total = sum(store.counts().get(state, 0) for state in ("evaluated", "failed", "waiting")) + len(missing)
            strategy = ListedCandidates([(run, "") for run in missing])
            Search(store, strategy, backend, metric=SCORE, max_evaluations=total, on_change=show).run()

    def results(self) -> list[SettingResult]:
        """What there is, in the order of the settings; also while the sweep runs.

        Raises:
            SearchError: there is no sweep in the folder, or its file is damaged.
            ConfigError: a run of the file has another config.
        """
        if not self._begun():
            raise SearchError(f"there is no sweep in {self.folder}: start it first")
        with TrialStore.read(self.file) as store:
            trials = _newest(store)
        self._check_same(trials)
        return [self._result(setting, trials) for setting in self.settings]

    def _runs(self) -> Iterator[Json]:
        """Seed by seed, so that an unfinished sweep has something of every setting."""
        for index in range(self.num_seeds):
            for setting in self.settings:
                yield as_candidate(setting.name, setting.cfg.SEED + index, setting.cfg)

    def _missing(self, trials: Mapping[tuple[str, int], Trial]) -> list[Json]:
        return [run for run in self._runs() if _key(run) not in trials or trials[_key(run)].state == "failed"]

    def _result(self, setting: Setting, trials: Mapping[tuple[str, int], Trial]) -> SettingResult:
        seeds = tuple(setting.cfg.SEED + index for index in range(self.num_seeds))
        found = {seed: trials[setting.name, seed] for seed in seeds if (setting.name, seed) in trials}
        figures = {seed: dict(trial.scores) for seed, trial in found.items() if trial.state == "evaluated"}
        for scores in figures.values():
            scores.pop(SCORE, None)
        failures = {seed: trial.reason for seed, trial in found.items() if trial.state == "failed"}
        return SettingResult(setting.labels, figures, failures, seeds)

    def _begun(self) -> bool:
        return self.file.exists() and self.file.stat().st_size > 0

    def _check(self, *, resume: bool) -> None:
        """What is wrong is told before a file or a worker is made; and data that draw themselves are drawn once."""
        if not resume and (self._begun() or (self.folder / "runs").exists()):
            raise SearchError(
                f"there is a sweep in {self.folder}: continue it with --resume, or take another OUTPUT_DIR"
            )
        if resume and not self._begun():
            raise SearchError(f"there is no sweep to resume in {self.folder}: start it without --resume")
        if resume:
            self.results()
        looked_at = set()
        for setting in self.settings:
            cfg = setting.cfg
            if not cfg.DATASETS.TESTS:
                raise ConfigError(
                    f"{setting.labels['config']}: DATASETS.TESTS is empty, there is nothing to compare by"
                )
            if repr(cfg.DATASETS) not in looked_at:
                looked_at.add(repr(cfg.DATASETS))
                build_train_data(cfg)
                for spec in cfg.DATASETS.TESTS:
                    build_dataset(spec, cfg.DATASETS.ROOT)

    def _check_same(self, trials: Mapping[tuple[str, int], Trial]) -> None:
        for run in self._runs():
            trial = trials.get(_key(run))
            if trial is not None:
                _check_same_config(trial.proposal.candidate, run, str(self.file))


def _key(run: Mapping[str, Any]) -> tuple[str, int]:
    return run["setting"], run["seed"]


def _newest(store: TrialStore) -> dict[tuple[str, int], Trial]:
    """The last trial of each run."""
    return {_key(trial.proposal.candidate): trial for trial in store.trials()}


def _check_same_config(before: Json, now: Json, source: str) -> None:
    changed = differences(before["config"], now["config"])
    lines = [f"{key} was {_said(old)}, is {_said(new)}" for key, (old, new) in changed.items() if not below(key, _FREE)]
    if lines:
        raise ConfigError(
            f"{source} has {now['setting']} with another config; restore that, or take another OUTPUT_DIR:\n  - "
            + "\n  - ".join(lines)
        )


def _said(value: Any) -> str:
    return "the default" if value is None else repr(value)
