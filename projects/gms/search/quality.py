"""How good the predictor is on what a search has recorded."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path

from tabulate import tabulate

from fastreid_ext.config import CfgNode
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.predictor import PredictorError
from fastreid_ext.projects.gms.predictor_quality import predictor_quality
from fastreid_ext.projects.gms.search.chooser import build_predictor
from fastreid_ext.projects.gms.search.screen import LossScreen
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.trials import TrialStore
from fastreid_ext.utils.files import write_json

__all__ = ["measure_predictor", "recorded_quality"]

_PERCENT = 100
_FILE = "predictor.json"


def measure_predictor(cfg: CfgNode, output: Path) -> str:
    """Cross-validates the predictor on the evaluated trials in `trials.sqlite`, and writes `predictor.json`.

    Returns:
        A table: rank correlations on held-out losses, and the mean score of what each way would choose.

    Raises:
        SearchError: too few evaluated trials.
    """
    with TrialStore.read(output / "trials.sqlite") as store:
        trials = list(store.trials("evaluated"))
    screen = LossScreen(cfg)
    examined = screen.examine([Candidate.from_json(trial.proposal.candidate) for trial in trials])
    known = [
        (seen.vector, trial.score) for seen, trial in zip(examined, trials, strict=True) if trial.score is not None
    ]
    vectors, performances = [vector for vector, _ in known], [score / _PERCENT for _, score in known]
    node = cfg.SEARCH.LOSS.PREDICTOR
    try:
        rows = predictor_quality(
            vectors,
            performances,
            seed=cfg.SEED,
            pool_size=node.CANDIDATES,
            epochs=node.EPOCHS,
            make_predictor=partial(build_predictor, cfg),
        )
    except (ValueError, PredictorError) as error:
        raise SearchError(f"{output / 'trials.sqlite'}: {error}") from error
    described = [{"evaluations": len(known), **asdict(row)} for row in rows]
    write_json(output / _FILE, described)
    return tabulate(described, headers="keys", floatfmt=".3f", tablefmt="github")


def recorded_quality(output: Path) -> list[dict[str, object]]:
    """The rows that `measure_predictor` wrote; none before."""
    path = output / _FILE
    if not path.exists():
        return []
    try:
        rows: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SearchError(f"{path} is damaged: run --predictor-quality again, or remove it ({error})") from error
    return rows
