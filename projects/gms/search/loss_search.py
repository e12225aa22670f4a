"""AutoLoss-GMS: the search for losses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tabulate import tabulate

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.engine.searches import LOSS_SEARCHES, LossSearch, SearchResources
from fastreid_ext.projects.gms.presets import HAND_CRAFTED
from fastreid_ext.projects.gms.search.checks import build_space, check_search
from fastreid_ext.projects.gms.search.chooser import ConfiguredChooser
from fastreid_ext.projects.gms.search.grid import baseline_grid, family
from fastreid_ext.projects.gms.search.outcome import best_table, write_training_config
from fastreid_ext.projects.gms.search.proxy import UNREADABLE, ProxyFactory, ProxyTask
from fastreid_ext.projects.gms.search.quality import measure_predictor
from fastreid_ext.projects.gms.search.report import write_search_report
from fastreid_ext.projects.gms.search.resume import check_same_search
from fastreid_ext.projects.gms.search.screen import LossScreen
from fastreid_ext.registry import close_matches
from fastreid_ext.search.backends import build_backend
from fastreid_ext.search.driver import Search
from fastreid_ext.search.errors import SearchError, SearchStopped
from fastreid_ext.search.evolution import RegularizedEvolution
from fastreid_ext.search.listed import ListedCandidates
from fastreid_ext.search.progress import SearchProgress, ShowProgress
from fastreid_ext.search.protocols import Strategy
from fastreid_ext.search.trials import TrialStore
from fastreid_ext.utils.files import atomic_write

__all__ = ["AutoLossGMS"]

# The evaluator keeps the limit itself between two steps; a worker that does not come back is ended after this.
_HANGING = 1.5
_HANGING_SECONDS = 60.0
_SHOWN = 10
_TRIALS, _BASELINES = "trials.sqlite", "baselines.sqlite"


@LOSS_SEARCHES.register(source="Gu et al. 2022 (AutoLoss-GMS)")
class AutoLossGMS(LossSearch):
    """Regularised evolution of margin-based softmax losses, screened before they are trained with.

    Files in `OUTPUT_DIR`: `trials.sqlite`, `config.yaml`, `train.yml`, `report.html`; `baselines.sqlite` after
    `run_baselines`, `predictor.json` after `measure_predictor`.

    Args:
        cfg: a config with `SEARCH.LOSS`; the rest is the proxy task.
        resources: where trials run.
        show_progress: draw a progress bar instead of printing lines.

    Raises:
        ConfigError: options with which it could not work.
    """

    def __init__(self, cfg: CfgNode, *, resources: SearchResources | None = None, show_progress: bool = False) -> None:
        check_search(cfg)
        self.cfg, self.resources = cfg, resources or SearchResources()
        self.show_progress = show_progress
        self.output = Path(cfg.OUTPUT_DIR)

    def run(self, *, resume: bool = False) -> None:
        """Searches to the end, and writes what was found.

        Args:
            resume: continue the search in `OUTPUT_DIR`.

        Raises:
            SearchStopped: on Ctrl-C or SIGTERM; everything is in the file.
            SearchError: there is a search already, or none to resume, or the file is damaged.
            ConfigError: too few identities for the proxy task, or another config than the search had.
        """
        node = self.cfg.SEARCH.LOSS
        strategy = RegularizedEvolution(
            build_space(self.cfg),
            LossScreen(self.cfg),
            seed=self.cfg.SEED,
            chooser=ConfiguredChooser(self.cfg) if node.PREDICTOR.ENABLED else None,
            initial=list(HAND_CRAFTED.values()) if node.PREDEFINED else [],
            num_initial=node.NUM_INITIAL,
            population_size=node.POPULATION,
            tournament=node.TOURNAMENT,
        )
        try:
            self._evaluate(_TRIALS, strategy, node.MAX_EVALUATIONS, resume=resume)
        except SearchStopped:
            self._write_outcome()
            raise
        self._write_outcome()

    def run_baselines(self) -> str:
        """Evaluates hand-crafted losses with a grid of scales and margins on the proxy task, or goes on with that.

        Returns:
            A table.

        Raises:
            SearchStopped: on Ctrl-C or SIGTERM; what was evaluated is in the file.
        """
        grid = [(candidate.to_json(), name) for candidate, name in baseline_grid()]
        path = self.output / _BASELINES
        resume = path.exists() and path.stat().st_size > 0
        self._evaluate(_BASELINES, ListedCandidates(grid), len(grid), resume=resume)
        with TrialStore.read(path) as store:
            evaluated = {trial.proposal.mutation: trial.score for trial in store.best(len(grid))}
        return tabulate(
            evaluated.items(), headers=["loss", self.cfg.SEARCH.LOSS.METRIC], floatfmt=".2f", tablefmt="github"
        )

    def measure_predictor(self) -> str:
        """Cross-validates the predictor on the trials, for the report; a table."""
        self._check_same()
        return measure_predictor(self.cfg, self.output)

    def write_report(self) -> Path:
        """Writes `report.html` from what there is, also while the search runs.

        Raises:
            SearchError: there is no search in `OUTPUT_DIR`, or its file is damaged.
        """
        self._check_same()
        return write_search_report(self.cfg, self.output, self.baselines())

    def baselines(self) -> Mapping[str, float]:
        """The best score of each hand-crafted loss, by name with scale and margin; empty before `run_baselines`."""
        path = self.output / _BASELINES
        if not path.exists():
            return {}
        best: dict[str, tuple[str, float]] = {}
        with TrialStore.read(path) as store:
            for trial in store.trials("evaluated"):
                name = trial.proposal.mutation
                if trial.score is not None and trial.score > best.get(family(name), ("", -1.0))[1]:
                    best[family(name)] = (name, trial.score)
        return dict(best.values())

    def report(self) -> str:
        """The best losses, and the commands that look at them and train with them."""
        self._check_same()
        with TrialStore.read(self.output / _TRIALS) as store:
            best = store.best(_SHOWN)
            counts = ", ".join(f"{number} {state}" for state, number in store.counts().items())
            rejections = ", ".join(f"{number} by {stage}" for stage, number in store.rejections().items())
            failed = list(store.trials("failed"))
        lines = [best_table(best, self.cfg.SEARCH.LOSS.METRIC, self.baselines()), f"trials: {counts}"]
        lines += [f"rejected: {rejections}"] if rejections else []
        lines += [f"the last failure: trial {failed[-1].number}, {failed[-1].reason}"] if failed else []
        unreadable = max((trial.scores.get(UNREADABLE, 0.0) for trial in best), default=0.0)
        if unreadable:
            lines.append(f"{unreadable:.0f} training images could not be read and were replaced by others")
        lines.append(f"report: {self.output / 'report.html'}")
        if best:
            lines.append(f"train it: python tools/train_net.py --config-file {self.output / 'train.yml'}")
        return "\n".join(lines)

    def _check_before(self, path: Path, *, resume: bool) -> None:
        """What is wrong is told before a file or a worker is made; and data that draw themselves are drawn once."""
        begun = path.exists() and path.stat().st_size > 0
        if not resume and begun:
            raise SearchError(f"there is a search in {path}: continue it with --resume, or take another OUTPUT_DIR")
        if resume and not begun:
            raise SearchError(f"there is no search to resume in {path}: start it without --resume")
        self._check_same()
        figures = ProxyTask(self.cfg).figures()
        metric = self.cfg.SEARCH.LOSS.METRIC
        if metric not in figures:
            hint = "".join(f" Did you mean {match}?" for match in close_matches(metric, figures, 1))
            raise ConfigError(f"SEARCH.LOSS.METRIC is {metric!r}.{hint} The evaluation gives: {', '.join(figures)}")

    def _store(self, path: Path, *, resume: bool) -> TrialStore:
        if resume:
            return TrialStore.open(path)
        if path.name == _TRIALS:
            with atomic_write(self.output / "config.yaml") as file:
                file.write(self.cfg.dump())
        return TrialStore.create(path, config=self.cfg.dump())

    def _check_same(self) -> None:
        """Trials and baselines of a folder are of one task: that of the config."""
        for path in (self.output / _TRIALS, self.output / _BASELINES):
            if path.exists() and path.stat().st_size > 0:
                with TrialStore.read(path) as store:
                    check_same_search(store.meta("config", "{}"), self.cfg, str(path))

    def _evaluate(self, name: str, strategy: Strategy, evaluations: int, *, resume: bool) -> SearchProgress:
        node, resources, path = self.cfg.SEARCH.LOSS, self.resources, self.output / name
        self._check_before(path, resume=resume)
        with (
            build_backend(
                resources.backend,
                ProxyFactory(self.cfg),
                workers=resources.num_workers(),
                cpus_per_trial=resources.cpus_per_trial,
                gpus_per_trial=resources.gpus_per_trial,
                time_limit=_HANGING * node.TIME_LIMIT + _HANGING_SECONDS if node.TIME_LIMIT else 0,
                address=resources.address,
            ) as backend,
            self._store(path, resume=resume) as store,
            ShowProgress(bar=self.show_progress) as show,
        ):
            return Search(
                store,
                strategy,
                backend,
                metric=node.METRIC,
                seed=self.cfg.SEED,
                max_evaluations=evaluations,
                max_hours=node.MAX_HOURS or None,
                on_change=show,
            ).run()

    def _write_outcome(self) -> None:
        with TrialStore.read(self.output / _TRIALS) as store:
            best = store.best()
        if best:
            write_training_config(self.cfg, best[0])
        self.write_report()
