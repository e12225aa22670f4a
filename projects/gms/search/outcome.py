"""What a search leaves: a table of the best losses, a config that trains the best one, and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from tabulate import tabulate

from fastreid_ext.config import CfgNode, load_config, nested_changes
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.search.proxy import with_loss
from fastreid_ext.search.protocols import Trial
from fastreid_ext.utils.files import atomic_write

__all__ = ["best_table", "training_config", "write_training_config"]

_OF_THE_SEARCH = ("DATASETS", "DATALOADER")


def write_training_config(cfg: CfgNode, best: Trial) -> Path:
    """Writes `train.yml` to the output folder: the best loss, in the recipe `SEARCH.LOSS.TRAIN_CONFIG`."""
    output = Path(cfg.OUTPUT_DIR)
    path = output / "train.yml"
    candidate = Candidate.from_json(best.proposal.candidate)
    with atomic_write(path) as file:
        file.write(f"# {candidate}\n# Trial {best.number} of {output / 'trials.sqlite'}.\n")
        file.write(f"#   python tools/train_net.py --config-file {path}\n")
        yaml.safe_dump(training_config(cfg, candidate), file, sort_keys=False)
    return path


def training_config(cfg: CfgNode, candidate: Candidate) -> dict[str, Any]:
    """The recipe with a loss, on the data of the search.

    Args:
        cfg: of the search.
        candidate: the loss.

    Returns:
        The keys that differ from the defaults.
    """
    recipe = with_loss(load_config(cfg.SEARCH.LOSS.TRAIN_CONFIG, ["PROJECTS", list(cfg.PROJECTS)]), candidate)
    recipe.DATASETS, recipe.DATALOADER = (cfg[name].clone() for name in _OF_THE_SEARCH)
    # The nodes of the search came frozen.
    recipe.defrost()
    recipe.DATASETS.TESTS = tuple(cfg.DATASETS.TESTS) or tuple(cfg.DATASETS.NAMES)
    recipe.SEED = cfg.SEED
    recipe.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR) / "trained")
    return nested_changes(recipe, without="SEARCH")


def best_table(best: Sequence[Trial], metric: str, baselines: Mapping[str, float]) -> str:
    """The best losses, and the hand-crafted ones where they were evaluated, with their scores."""
    rows = [_row(trial) for trial in best]
    rows += [["", score, name, "", None] for name, score in baselines.items()]
    return tabulate(rows, headers=["trial", metric, "t(x)", "n(x)", "log2 s"], floatfmt=".2f", tablefmt="github")


def _row(trial: Trial) -> list[Any]:
    candidate = Candidate.from_json(trial.proposal.candidate)
    functions = (_shortened(str(candidate.target)), _shortened(str(candidate.nontarget)))
    return [trial.number, trial.score, *functions, candidate.log2_scale]


def _shortened(text: str, length: int = 60) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
