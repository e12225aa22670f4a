"""The report of a search, from its files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from fastreid_ext.config import CfgNode
from fastreid_ext.projects.gms.presets import PRESETS
from fastreid_ext.projects.gms.report import write_report
from fastreid_ext.projects.gms.search.quality import recorded_quality
from fastreid_ext.search.trials import TrialStore

__all__ = ["write_search_report"]

_DRAWN = ("softmax", "cosface", "arcface", "circle")


def write_search_report(cfg: CfgNode, output: Path, baselines: Mapping[str, float]) -> Path:
    """Writes `report.html`.

    Args:
        cfg: of the search.
        output: its folder.
        baselines: scores of hand-crafted losses by name.

    Raises:
        TrialStoreError: there is no search, or its file is damaged.
    """
    path = output / "report.html"
    with TrialStore.read(output / "trials.sqlite") as store:
        trials = list(store.trials())
    write_report(
        path,
        trials,
        title=f"Search for a loss on {', '.join(cfg.DATASETS.NAMES)}",
        settings=yaml.safe_load(cfg.SEARCH.LOSS.dump()),
        metric=cfg.SEARCH.LOSS.METRIC,
        handcrafted={name: PRESETS[name] for name in _DRAWN},
        baselines=baselines,
        predictor=recorded_quality(output),
    )
    return path
