"""The loss that a config node describes."""

from __future__ import annotations

from fastreid_ext.config import CfgNode, ConfigError
from fastreid_ext.projects.gms.candidate import Candidate
from fastreid_ext.projects.gms.graph import Graph, GraphError
from fastreid_ext.projects.gms.parser import parse
from fastreid_ext.projects.gms.presets import find_preset

__all__ = ["configured_loss"]


def configured_loss(node: CfgNode, name: str) -> Candidate:
    """The preset, or t and n as written, with the scale of its own where one is given.

    Args:
        node: has `PRESET`, `TARGET`, `NONTARGET`, `LOG2_SCALE`.
        name: of the node, for errors.

    Raises:
        ConfigError: an unknown preset, a text that is no expression, one function without the other, a scale that is
            missing or out of range.
    """
    written = {key: str(node[key]) for key in ("TARGET", "NONTARGET")}
    try:
        if not any(written.values()):
            preset = find_preset(node.PRESET)
            return Candidate(preset.target, preset.nontarget, node.LOG2_SCALE or preset.log2_scale)
        missing = [key for key, text in written.items() if not text]
        missing += [] if node.LOG2_SCALE else ["LOG2_SCALE"]
        if missing:
            raise ConfigError(
                f"{name}.{missing[0]} is missing: a loss of your own has TARGET, NONTARGET and LOG2_SCALE; leave the "
                f"first two empty to take {name}.PRESET"
            )
        target, nontarget = (_parsed(text, f"{name}.{key}") for key, text in written.items())
        return Candidate(target, nontarget, node.LOG2_SCALE)
    except GraphError as error:
        raise ConfigError(f"{name}: {error}") from error


def _parsed(text: str, key: str) -> Graph:
    try:
        return parse(text)
    except GraphError as error:
        raise ConfigError(f"{key}: {error}") from error
