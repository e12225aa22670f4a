"""Trains every setting with every seed, and tells what came out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.searches import SearchResources
from fastreid_ext.engine.sweep.candidates import (
    as_candidate,
    changed_keys,
    config_from,
    identity,
    run_folder,
    stored_config,
)
from fastreid_ext.engine.sweep.cells import cell_of
from fastreid_ext.engine.sweep.plan import Setting
from fastreid_ext.engine.sweep.results import SettingResult
from fastreid_ext.engine.sweep.training_run import SCORE, TrainingRuns
from fastreid_ext.search.backends import build_backend
from fastreid_ext.search.driver import Search
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.listed import ListedCandidates
from fastreid_ext.search.progress import ShowProgress
from fastreid_ext.search.protocols import Json, Trial
from fastreid_ext.search.trials import TrialStore
from fastreid_ext.utils.logger import get_logger

__all__ = ["Sweep", "score_name"]


@dataclass(frozen=True)
class Sweep:
    """Many trainings and their results, in one folder: `trials.sqlite`, and `runs/<setting>/seed<n>/` of each.

    Args:
        folder: of the sweep.
        settings: what is trained.
        num_seeds: of each setting; the first is the config's SEED, the others follow.
        best_first: results are wanted in the order of their scores, as of settings drawn at random.
        resources: where runs are trained.
        keep_checkpoints: leave the weights of ended runs there.
        show_progress: draw a progress bar instead of printing lines.
    """

    folder: Path
    settings: Sequence[Setting]
    num_seeds: int = 3
    best_first: bool = False
    resources: SearchResources = field(default_factory=SearchResources)
    keep_checkpoints: bool = True
    show_progress: bool = False

    @classmethod
    def read(cls, folder: Path) -> Sweep:
        """The sweep of a folder as it was last begun or resumed.

        Raises:
            SearchError: there is none, or its file is damaged.
        """
        path = _file(folder)
        if not TrialStore.begun(path):
            raise SearchError(f"there is no sweep in {folder}: start it first")
        with TrialStore.read(path) as store:
            plan = store.meta("plan", {"settings": [], "num_seeds": 1})
        settings = [
            Setting(setting["name"], setting["labels"], config_from(setting["config"], SEED=setting["seed"]))
            for setting in plan["settings"]
        ]
        return cls(folder, settings, plan["num_seeds"], plan.get("best_first", False))

    def run(self, *, resume: bool = False) -> None:
        """Trains what has not been trained yet; `check` comes first.

        Args:
            resume: go on with the sweep in the folder: runs that failed or were stopped are tried again, and settings
                and seeds that it did not have are added. Runs are known by their configs.

        Raises:
            SearchStopped: on Ctrl-C or SIGTERM; what has ended is in the file.
            SearchError: there is a sweep already, or none to resume, or the file is damaged.
            ConfigError: a run's folder is that of a run with another config.
        """
        self.check(resume=resume)
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
            TrialStore.open(_file(self.folder)) if resume else TrialStore.create(_file(self.folder)) as store,
            ShowProgress(bar=self.show_progress) as show,
        ):
            missing = self._prepare(store)
            counts = store.counts()
            Search(
                store,
                ListedCandidates([(run, _spoken(run)) for run in missing]),
                backend,
                metric=SCORE,
                max_evaluations=counts.get("evaluated", 0) + counts.get("failed", 0) + len(missing),
                on_change=show,
                on_end=_tell,
            ).run()

    def check(self, *, resume: bool) -> None:
        """What is wrong is told before a file or a worker is made.

        Raises:
            SearchError, ConfigError: see `run`.
        """
        begun = TrialStore.begun(_file(self.folder))
        if not resume and (begun or (self.folder / "runs").exists()):
            raise SearchError(f"there is a sweep in {self.folder}: go on with --resume, or take another OUTPUT_DIR")
        if resume and not begun:
            raise SearchError(f"there is no sweep to resume in {self.folder}: start it without --resume")
        if not begun:
            return
        with TrialStore.read(_file(self.folder)) as store:
            evaluated = list(store.trials("evaluated"))
        known = {identity(trial.proposal.candidate) for trial in evaluated}
        places = {run_folder(self.folder, trial.proposal.candidate): trial.proposal.candidate for trial in evaluated}
        for run in self._runs():
            other = places.get(run_folder(self.folder, run))
            if other is not None and identity(run) not in known:
                raise ConfigError(
                    f"{_spoken(run)} was trained with another config; restore that, or take another OUTPUT_DIR:\n  - "
                    + "\n  - ".join(changed_keys(other, run))
                )

    def results(self) -> list[SettingResult]:
        """What there is, in the order of the settings or, if `best_first`, of their scores; also while the sweep runs.

        Settings of which nothing is known yet are the last ones.

        Raises:
            SearchError: there is no sweep in the folder, or its file is damaged.
        """
        if not TrialStore.begun(_file(self.folder)):
            raise SearchError(f"there is no sweep in {self.folder}: start it first")
        with TrialStore.read(_file(self.folder)) as store:
            trials = _newest(store)
        found = [(setting, self._result(setting, trials)) for setting in self.settings]
        if self.best_first:
            found.sort(key=lambda pair: _score(pair[1], score_name(pair[0])), reverse=True)
        return [result for _, result in found]

    def _seeds(self, setting: Setting) -> tuple[int, ...]:
        return tuple(setting.cfg.SEED + index for index in range(self.num_seeds))

    def _runs(self) -> Iterator[Json]:
        """Seed by seed, so that an unfinished sweep has something of every setting."""
        configs = [stored_config(setting.cfg) for setting in self.settings]
        for index in range(self.num_seeds):
            for setting, config in zip(self.settings, configs, strict=True):
                yield as_candidate(setting.name, setting.cfg.SEED + index, config)

    def _prepare(self, store: TrialStore) -> list[Json]:
        """Brings the file up to date with what is asked for, and says what is left to train."""
        # They are listed anew, with this machine's options; what they have trained lies in their folders.
        store.drop_waiting()
        trials = _newest(store)
        planned = {identity(run) for run in self._runs()}
        others = sum(trial.state == "evaluated" and key not in planned for key, trial in trials.items())
        if others:
            get_logger(__name__).warning(
                f"runs of {self.folder} that are not asked for now, and not in the table: {others}"
            )
        missing = [
            run for run in self._runs() if identity(run) not in trials or trials[identity(run)].state == "failed"
        ]
        described = [
            {"name": s.name, "labels": dict(s.labels), "config": stored_config(s.cfg), "seed": s.cfg.SEED}
            for s in self.settings
        ]
        plan = {"settings": described, "num_seeds": self.num_seeds, "best_first": self.best_first}
        store.set_meta(plan=plan, strategy=None)
        return missing

    def _result(self, setting: Setting, trials: Mapping[str, Trial]) -> SettingResult:
        config = stored_config(setting.cfg)
        planned = {seed: identity(as_candidate(setting.name, seed, config)) for seed in self._seeds(setting)}
        found = {seed: trials[key] for seed, key in planned.items() if key in trials}
        figures = {
            seed: {name: value for name, value in trial.scores.items() if name != SCORE}
            for seed, trial in found.items()
            if trial.state == "evaluated"
        }
        failures = {seed: trial.reason for seed, trial in found.items() if trial.state == "failed"}
        return SettingResult(setting.labels, figures, failures, tuple(planned))


def score_name(setting: Setting) -> str:
    """Name of the figure by which settings are the best: TEST.BEST_METRIC of the first test set."""
    return f"{setting.cfg.DATASETS.TESTS[0]}/{setting.cfg.TEST.BEST_METRIC}"


def _score(result: SettingResult, name: str) -> float:
    cell = cell_of(result, *name.rsplit("/", 1))
    return cell.mean if cell and cell.values else -math.inf


def _file(folder: Path) -> Path:
    return folder / "trials.sqlite"


def _newest(store: TrialStore) -> dict[str, Trial]:
    """The last trial of each run."""
    return {identity(trial.proposal.candidate): trial for trial in store.trials()}


def _spoken(run: Json) -> str:
    return f"{run['setting']}, seed {run['seed']}"


def _tell(trial: Trial) -> None:
    outcome = f"{trial.score:.4g}" if trial.score is not None else f"failed: {trial.reason}"
    get_logger(__name__).info(f"{trial.proposal.mutation}: {outcome} ({trial.duration:.0f} s)")
