"""A config of ours that does what a config of FastReID does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastreid_ext.compat.config_report.facts import LOSS_NODES, SWITCHES
from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.old_config import OldConfig
from fastreid_ext.compat.config_report.unread import unread_keys
from fastreid_ext.config import CfgNode, ConfigError, get_cfg
from fastreid_ext.config.checks import check

__all__ = ["changed_keys", "fault_of", "modern_config"]


def modern_config(old: OldConfig, as_fastreid: Sequence[Finding] = ()) -> CfgNode:
    """The config in which what FastReID passes over is left out.

    Args:
        old: a config of FastReID.
        as_fastreid: differences to undo with the keys that they name.
    """
    cfg: CfgNode = old.cfg.clone()
    cfg.defrost()
    ours = dict(get_cfg().leaves())
    for key in _without_effect(old):
        cfg.merge_from_mapping({key: ours[key]})
    cfg.merge_from_mapping(_said_otherwise(old))
    for finding in as_fastreid:
        cfg.merge_from_mapping(finding.as_fastreid)
    cfg.freeze()
    return cfg


def changed_keys(cfg: CfgNode) -> dict[str, Any]:
    """The keys that differ from our defaults, by dotted key: those in sections, then single ones."""
    ours = dict(get_cfg().leaves())
    changed = {key: value for key, value in cfg.leaves() if not _same(value, ours[key])}
    return dict(sorted(changed.items(), key=lambda item: "." not in item[0]))


def fault_of(cfg: CfgNode) -> str:
    """Why a config of ours is refused; nothing if it is not."""
    try:
        check(cfg)
    except ConfigError as error:
        return str(error)
    return ""


def _without_effect(old: OldConfig) -> list[str]:
    """Keys that nothing reads in FastReID, or that say what is known here."""
    keys = [unread.key for unread in unread_keys(old)]
    losses = old.cfg.MODEL.LOSSES
    for node, loss in LOSS_NODES.items():
        if loss not in old.computed_losses:
            keys += [f"MODEL.LOSSES.{node}.{key}" for key in losses[node]]
    node = "MODEL.BACKBONE"
    if old.family is None:
        # What a backbone of the user's reads is not known.
        keys = [key for key in keys if key.removeprefix(f"{node}.") not in SWITCHES]
    return [*keys, f"{node}.FEAT_DIM", *([] if old.cfg.MODEL.DEVICE != "cuda" else ["MODEL.DEVICE"])]


def _said_otherwise(old: OldConfig) -> Mapping[str, Any]:
    """Keys whose values mean in FastReID what other values mean here."""
    model, solver = old.cfg.MODEL, old.cfg.SOLVER
    changes: dict[str, Any] = {}
    if old.computed_losses:
        listed = [name for name in model.LOSSES.NAME if name in old.computed_losses]
        changes["MODEL.LOSSES.NAME"] = tuple(dict.fromkeys(listed))
    if model.LOSSES.TRI.MARGIN < 0 and "TripletLoss" in old.computed_losses:
        changes["MODEL.LOSSES.TRI.MARGIN"] = 0.0
    if model.META_ARCHITECTURE == "MGN" and solver.HEADS_LR_FACTOR != 1:
        changes["SOLVER.HEADS_LR_FACTOR"] = 1.0
    if not (model.FREEZE_LAYERS and solver.FREEZE_ITERS):
        changes |= {"MODEL.FREEZE_LAYERS": [], "SOLVER.FREEZE_ITERS": 0}
    path = model.BACKBONE.PRETRAIN_PATH
    if path and not Path(path).expanduser().exists():
        changes["MODEL.BACKBONE.PRETRAIN_PATH"] = ""
    if model.HEADS.NAME == "ClasHead":
        changes |= {"TEST.EVALUATOR": "ClasEvaluator", "TEST.BEST_METRIC": "Acc@1"}
    if old.cfg.TEST.METRIC == "jaccard":
        changes |= {"TEST.METRIC": "cosine", "TEST.RERANK.ENABLED": True, "TEST.RERANK.LAMBDA": 0.0}
    return changes


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(value) == len(other) and all(_same(*pair) for pair in zip(value, other, strict=True))
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other)
    return bool(value == other)
