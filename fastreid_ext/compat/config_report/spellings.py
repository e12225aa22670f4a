"""Keys and values of older versions of FastReID, v0.1 to v1.2, in today's spelling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.old_periods import translate_periods
from fastreid_ext.compat.config_report.old_values import (
    GONE,
    OLD_DEFAULTS,
    RENAMED,
    VALUES,
    frozen_of_open,
    head_of_old_name,
    sampler_of_old_switches,
)
from fastreid_ext.compat.config_report.reading import Given

__all__ = ["Spelling", "translated"]

# Spellings that files of 1.4 hold too, since its README still has the one or many users write the other.
_NOT_TELLING = ("SOLVER.FP16_ENABLED", "SOLVER.AMP_ENABLED", "SOLVER.LOG_PERIOD")


@dataclass(frozen=True)
class Spelling:
    """Values under today's keys, what was said about the translation, and whether schedules count from the start."""

    given: dict[str, Given]
    findings: tuple[Finding, ...]
    counts_from_start: bool = False


def translated(written: Mapping[str, Given]) -> Spelling:
    """Today's spelling of what files say, with the defaults of their time if they are of an older version."""
    given = dict(written)
    findings = [*_rename(given), *_revalue(given), *head_of_old_name(given)]
    findings += [*frozen_of_open(given), *sampler_of_old_switches(given)]
    counts_from_start = "SOLVER.MAX_ITER" in given
    findings += translate_periods(given)
    findings += _drop(given)
    if any(finding.key.split(" ")[0] not in _NOT_TELLING for finding in findings):
        findings += _add_old_defaults(given, "INPUT.DO_AUTOAUG" in written)
    return Spelling(given, tuple(findings), counts_from_start)


def _rename(given: dict[str, Given]) -> list[Finding]:
    findings = []
    for old, new in RENAMED.items():
        if old in given:
            moved = given.pop(old)
            given.setdefault(new, moved)
            findings.append(Finding(old, f"Is {new} in FastReID 1.4, which refuses the old key."))
    return findings


def _revalue(given: dict[str, Given]) -> list[Finding]:
    findings = []
    for key, values in VALUES.items():
        old = given.get(key)
        if old is None or not isinstance(old.value, (str, int)) or str(old.value) not in values:
            continue
        new = values[str(old.value)]
        given[key] = Given(new, old.source, old.rank)
        findings.append(Finding(f"{key} {old.value}", f"Is {new} in FastReID 1.4."))
    return findings


def _drop(given: dict[str, Given]) -> list[Finding]:
    findings = []
    for key, why in GONE.items():
        for found in [name for name in given if name == key or (key.endswith(".") and name.startswith(key))]:
            del given[found]
            findings.append(Finding(found, why))
    return findings


def _add_old_defaults(given: dict[str, Given], augments: bool) -> list[Finding]:
    added: dict[str, Any] = {key: value for key, value in OLD_DEFAULTS.items() if key not in given}
    if not augments:
        added.pop("INPUT.AUTOAUG.PROB", None)
    if given.get("MODEL.HEADS.CLS_LAYER", Given("Linear", "", 0)).value == "Linear":
        # The linear classifier of that time knew no scale.
        for key in ("MODEL.HEADS.SCALE", "MODEL.HEADS.MARGIN"):
            given.pop(key, None)
            added.pop(key, None)
    given.update({key: Given(value, "the defaults of that version", 0) for key, value in added.items()})
    if not added:
        return []
    named = ", ".join(f"{key} {value}" for key, value in added.items())
    return [Finding("Defaults of that version", f"The file leaves these to defaults that 1.4 does not have: {named}.")]
