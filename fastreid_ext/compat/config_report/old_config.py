"""A config of FastReID as FastReID understands it."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from fastreid_ext.compat.config_report.facts import (
    COMPUTED,
    FAMILIES,
    LOSSES,
    NAMES,
    OTHER_DEFAULTS,
    TRAINING_SETS,
    Family,
)
from fastreid_ext.compat.config_report.finding import Finding
from fastreid_ext.compat.config_report.reading import Duplicate, Given, read_chain
from fastreid_ext.compat.config_report.spellings import translated
from fastreid_ext.config import CfgNode, ConfigError, get_cfg

__all__ = ["OldConfig", "Refused", "check_options", "fastreid_defaults", "read_old_config"]

COMMAND_LINE = "the command line"


@dataclass(frozen=True)
class Refused:
    """A value of the wrong type."""

    given: Given
    why: str


@dataclass(frozen=True, eq=False)
class OldConfig:
    """What a file and its bases say, with FastReID's defaults.

    Attributes:
        path: of the file.
        files: it and its bases, bases first.
        cfg: the values, frozen; names that FastReID does not know are kept.
        given: what is not left at its default, by today's key.
        spellings: what was translated from older versions.
        unknown: keys that exist neither in FastReID 1.4 nor here.
        refused: keys whose values have the wrong type.
        duplicates: keys that stand twice.
        counts_from_start: whether it is of a version whose schedule counts from the start of training.
    """

    path: Path
    files: tuple[Path, ...]
    cfg: CfgNode
    given: Mapping[str, Given]
    spellings: tuple[Finding, ...]
    unknown: Mapping[str, Given]
    refused: Mapping[str, Refused]
    duplicates: tuple[Duplicate, ...]
    counts_from_start: bool = False

    def value(self, key: str) -> Any:
        """The value of a dotted key."""
        node: Any = self.cfg
        for part in key.split("."):
            node = node[part]
        return node

    def changed(self, key: str) -> bool:
        """Whether a key is given and is not at FastReID's default."""
        return key in self.given and self.value(key) != _DEFAULTS[key]

    def not_before(self, key: str, other: str) -> bool:
        """Whether a key is given in the source that gives another one, or in a later one."""
        if key not in self.given:
            return False
        return other not in self.given or self.given[key].rank >= self.given[other].rank

    def source(self, key: str) -> str:
        """Where a key stands if that is not the file itself, else nothing."""
        given = self.given.get(key)
        return given.source if given is not None and given.source != self.path.name else ""

    @cached_property
    def family(self) -> Family | None:
        """FastReID's family of backbones; None for one that is not FastReID's."""
        return FAMILIES.get(self.cfg.MODEL.BACKBONE.NAME)

    @property
    def computed_losses(self) -> tuple[str, ...]:
        """The losses of MODEL.LOSSES.NAME that FastReID computes, in its order; all for a model of the user's."""
        listed, architecture = self.cfg.MODEL.LOSSES.NAME, self.cfg.MODEL.META_ARCHITECTURE
        if architecture not in NAMES["MODEL.META_ARCHITECTURE"]:
            return tuple(listed)
        return tuple(name for name in (LOSSES[:2] if architecture == "MGN" else LOSSES) if name in listed)

    @cached_property
    def images(self) -> int:
        """Training images that FastReID reads; 0 where that is not known."""
        return self._known("images")

    @cached_property
    def images_here(self) -> int:
        """Training images that are read here; 0 where that is not known."""
        more = (TRAINING_SETS[name] for name in self.cfg.DATASETS.NAMES if name in TRAINING_SETS)
        return self.images and self.images + sum(max(0, one.images_here - one.images) for one in more)

    @cached_property
    def identities(self) -> int:
        """Training identities; 0 where that is not known."""
        return self._known("identities")

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in FastReID's training images; 0 where that is not known."""
        return self.images // max(1, int(self.cfg.SOLVER.IMS_PER_BATCH))

    def _known(self, what: str) -> int:
        sets = [TRAINING_SETS.get(name) for name in self.cfg.DATASETS.NAMES]
        numbers = [0 if of_set is None else int(getattr(of_set, what)) for of_set in sets]
        return sum(numbers) if numbers and all(numbers) and not self.cfg.DATASETS.COMBINEALL else 0


def fastreid_defaults() -> CfgNode:
    """FastReID's defaults in a config of ours."""
    cfg = get_cfg()
    cfg.merge_from_mapping(OTHER_DEFAULTS)
    return cfg


_DEFAULTS: Mapping[str, Any] = dict(fastreid_defaults().leaves())


def read_old_config(path: Path, options: Sequence[str] = ()) -> OldConfig:
    """Reads a file with its bases.

    Args:
        path: of the file.
        options: `[KEY, value, ...]`, which win over the file.

    Raises:
        ConfigError: a file is missing, no YAML or not FastReID's, or an option has no value.
    """
    reading = read_chain(path)
    written = {**reading.given, **_from_options(options, rank=len(reading.files) + 1)}
    if "PROJECTS" in written:
        raise ConfigError(f"{path} names PROJECTS: it is a config of this toolbox, not of FastReID")
    spelling = translated(written)
    cfg = fastreid_defaults()
    known = dict(cfg.leaves())
    unknown = {key: given for key, given in spelling.given.items() if key not in known}
    refused: dict[str, Refused] = {}
    for key, given in spelling.given.items():
        if key in known:
            try:
                cfg.merge_from_mapping({key: given.value}, given.source)
            except ConfigError as error:
                refused[key] = Refused(given, str(error))
    cfg.freeze()
    return OldConfig(
        path=path,
        files=reading.files,
        cfg=cfg,
        given={key: given for key, given in spelling.given.items() if key in known and key not in refused},
        spellings=spelling.findings,
        unknown={key: given for key, given in unknown.items() if COMPUTED not in key},
        refused=refused,
        duplicates=reading.duplicates,
        counts_from_start=spelling.counts_from_start,
    )


def check_options(options: Sequence[str]) -> None:
    """Checks what was typed, older spellings included, ahead of any file.

    Args:
        options: `[KEY, value, ...]`.

    Raises:
        ConfigError: an option has no value, is no key or takes another type.
    """
    joined = next((word for word in options[::2] if "=" in word), "")
    if joined:
        raise ConfigError(f"{joined}: write KEY VALUE, not KEY=VALUE")
    cfg = fastreid_defaults()
    for key, given in translated(_from_options(options, rank=1)).given.items():
        cfg.merge_from_mapping({key: given.value}, COMMAND_LINE)


def _from_options(options: Sequence[str], rank: int) -> dict[str, Given]:
    if len(options) % 2:
        raise ConfigError(f"options come in pairs KEY VALUE; the last key, {options[-1]!r}, has no value")
    pairs = zip(options[::2], options[1::2], strict=True)
    return {key: Given(_literal(key, value), COMMAND_LINE, rank) for key, value in pairs}


def _literal(key: str, value: Any) -> Any:
    """What was typed as a file would hold it, since older spellings are translated by value."""
    if not isinstance(value, str) or isinstance(_DEFAULTS.get(key), str):
        return value
    try:
        return literal_eval(value)
    except (ValueError, SyntaxError):
        return value
