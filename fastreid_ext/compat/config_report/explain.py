"""All that is said about a config of FastReID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid_ext.compat.config_report import (
    differences_evaluation,
    differences_model,
    differences_training,
    mistakes_model,
    mistakes_names,
    mistakes_training,
)
from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.modern import fault_of, modern_config
from fastreid_ext.compat.config_report.old_config import OldConfig, read_old_config
from fastreid_ext.compat.config_report.rules import DIFFERENCES, MISTAKES, apply
from fastreid_ext.compat.config_report.words import words
from fastreid_ext.compat.config_report.yaml_text import modern_yaml
from fastreid_ext.config import CfgNode

__all__ = ["Explanation", "explain"]

# Importing them fills the lists of rules.
_RULES = (
    mistakes_names,
    mistakes_model,
    mistakes_training,
    differences_model,
    differences_training,
    differences_evaluation,
)


@dataclass(frozen=True)
class Explanation:
    """What there is to say.

    Attributes:
        old: the config as FastReID understands it.
        words: what it does, by topic.
        mistakes: what was hardly meant so.
        differences: what is done here in another way.
        spellings: what was translated from older versions.
        not_here: why it cannot run here; empty if it can.
        cfg: a config of ours that does the same.
        modern: its YAML.
        file: the same with what does not run and what looks wrong in comments.
    """

    old: OldConfig
    words: Mapping[str, str]
    mistakes: Sequence[Finding]
    differences: Sequence[Finding]
    spellings: Sequence[Finding]
    not_here: Sequence[str]
    cfg: CfgNode
    modern: str
    file: str


def explain(path: Path, options: Sequence[str] = (), *, published: bool = False) -> Explanation:
    """Reads a config of FastReID and says what it does here, what differs, what looks wrong, and how to write it today.

    Args:
        path: of the YAML file; its bases are found from there.
        options: `[KEY, value, ...]`, which win over the file.
        published: let the modern form do what FastReID does, as its published figures and weights need it.

    Raises:
        ConfigError: a file is missing, or is no YAML.
    """
    old = read_old_config(path, options)
    network = mistakes_model.network_of(old)
    differences = apply(DIFFERENCES, old)
    mistakes = apply(MISTAKES, old)
    modern = modern_config(old, differences if published else ())
    not_here = [fault for fault in (network.failure, fault_of(modern)) if fault]
    remarks = {
        "Does not run here": not_here,
        "Likely mistakes": [f"{finding.key}: {finding.text}" for finding in mistakes],
    }
    return Explanation(
        old=old,
        words=words(old, network, published=published),
        mistakes=mistakes,
        differences=differences,
        spellings=old.spellings,
        not_here=not_here,
        cfg=modern,
        modern=modern_yaml(old, modern, published=published),
        file=modern_yaml(old, modern, published=published, remarks=remarks),
    )
