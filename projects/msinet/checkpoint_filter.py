"""The authors' weights, under the names of the layers here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from fastreid_ext.modeling.checkpoint_filters import CHECKPOINT_FILTERS

__all__ = ["checkpoint_filter"]

_SIGN = "cells.0.conv1a.conv.weight"
_CELL = re.compile(r"cells\.(\d)\.")

_PLAIN = {"conv": "0", "bn": "1"}
_LIGHT = {"conv1": "0", "conv2": "1", "bn": "2"}
_STEPS = {"1": "entries", "2": "first", "3": "second", "4": "exits"}
_BRANCHES = {"a": "0", "b": "1"}
_GATE = {"fc1": "0", "fc2": "2"}

_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]

# What stands in a cell, or between two stages, at the beginning of a name.
_IN_CELL: tuple[_Rule, ...] = (
    (re.compile(r"conv([14])([ab])\.(conv|bn)\."), lambda m: f"{_STEPS[m[1]]}.{_BRANCHES[m[2]]}.{_PLAIN[m[3]]}."),
    (
        re.compile(r"conv([23])([ab])\.(?:(\d)\.)?(conv1|conv2|bn)\."),
        lambda m: f"{_STEPS[m[1]]}.{_BRANCHES[m[2]]}.{m[3] or 0}.{_LIGHT[m[4]]}.",
    ),
    (re.compile(r"_op([23])\.(fc1|fc2)\."), lambda m: f"interaction{int(m[1]) - 1}.mlp.{_GATE[m[2]]}."),
    (re.compile(r"_op([23])\.(?=gamma$)"), lambda m: f"interaction{int(m[1]) - 1}."),
    (re.compile(r"downsample\.(conv|bn)\."), lambda m: f"shortcut.{_PLAIN[m[1]]}."),
    (re.compile(r"0\.(conv|bn)\."), lambda m: f"0.{_PLAIN[m[1]]}."),
)

_OUTSIDE: tuple[_Rule, ...] = (
    (re.compile(r"conv1\.(conv|bn)\."), lambda m: f"backbone.stem.{_PLAIN[m[1]]}."),
    (re.compile(r"fc\."), lambda m: "heads.global_branch.linear."),
    (re.compile(r"head\."), lambda m: "heads.global_branch.neck."),
    (
        re.compile(r"align_module\.pos_pam\.(query|key)_conv\."),
        lambda m: f"criterion.losses.sam.position_activation.{m[1]}.",
    ),
)

# Classifiers, which have a bias there, and the spatial alignment, which no feature depends on.
_TRAINING_ONLY = ("classifier.", "f_classifier.", "align_module.")


@CHECKPOINT_FILTERS.register("msinet", source="https://github.com/vimar-gu/MSINet")
def checkpoint_filter(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor] | None:
    """Weights of the MSINet authors' code: what they published was trained on ImageNet, training saves the same names.

    Backbone, global branch and spatial alignment are those of `MSINet`, `TwoBranchHead` and `SpatialAlignmentLoss`.
    Classifiers are dropped, and the alignment where the model has none. The local branch (`f_conv`, `f_fc`, `f_head`)
    is another: a convolution with a bias alone, where `TwoBranchHead` has a batch norm and a ReLU behind it. It keeps
    its names, and so does all that the model has no place for: the weights are a start for training, but no whole
    model to evaluate with that head.

    Args:
        weights: by the authors' names.
        model: that they are for.

    Returns:
        None where the names are of other code.
    """
    if _SIGN not in weights:
        return None
    own = model.state_dict()
    renamed = {}
    for name, value in weights.items():
        place = _place(name)
        if place in own:
            renamed[place] = value
        elif not name.startswith(_TRAINING_ONLY):
            renamed[name] = value
    return renamed


def _place(name: str) -> str:
    """Where it is here; its own name if nowhere."""
    cell = _CELL.match(name)
    if cell is None:
        return _rewritten(name, _OUTSIDE) or name
    inner = _rewritten(name[cell.end() :], _IN_CELL)
    stage, position = divmod(int(cell[1]), 3)
    part = f"reductions.{stage}" if position == 2 else f"stages.{stage}.{position}"
    return f"backbone.{part}.{inner}" if inner else name


def _rewritten(name: str, rules: tuple[_Rule, ...]) -> str:
    for pattern, rewrite in rules:
        if match := pattern.match(name):
            return rewrite(match) + name[match.end() :]
    return ""
