"""What the settings of a sweep are called, and which of them differ in what."""

from __future__ import annotations

from collections.abc import Sequence

from fastreid_ext.config import ConfigError
from fastreid_ext.engine.sweep.results import SettingResult
from fastreid_ext.registry import close_matches

__all__ = ["combination", "describe", "find_label", "label_names", "refuse_unknown", "short_names", "varying"]


def label_names(results: Sequence[SettingResult]) -> list[str]:
    """Names of all labels, in the order of the sweep."""
    return list(dict.fromkeys(name for result in results for name in result.labels))


def combination(result: SettingResult, names: Sequence[str]) -> tuple[str, ...]:
    """The values of these labels on one line each; of a label that a setting lacks, the empty text."""
    return tuple(" ".join(result.labels.get(name, "").split()) for name in names)


def varying(results: Sequence[SettingResult]) -> list[str]:
    """Names of the labels that are not equal in all settings."""
    return [name for name in label_names(results) if len({combination(result, [name]) for result in results}) > 1]


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Of each dotted name its shortest ending that no other name has: DATALOADER.NUM_INSTANCE is NUM_INSTANCE."""
    shortened = {}
    for name in names:
        parts = name.split(".")
        endings = [".".join(parts[start:]) for start in reversed(range(len(parts)))]
        others = [f".{other}" for other in names if other != name]
        unique = (ending for ending in endings if not any(other.endswith(f".{ending}") for other in others))
        shortened[name] = next(unique, name)
    return shortened


def describe(result: SettingResult, names: Sequence[str], short: dict[str, str]) -> str:
    """A setting in a few words; the value alone if there is one label only."""
    values = combination(result, names)
    if len(names) == 1:
        return values[0]
    return ", ".join(f"{short[name]} {value}".rstrip() for name, value in zip(names, values, strict=True))


def find_label(results: Sequence[SettingResult], name: str) -> str:
    """The full name of a label that is given by its full or its short name.

    Raises:
        ConfigError: there is no such label.
    """
    names = label_names(results)
    full = {**{short: long for long, short in short_names(names).items()}, **{long: long for long in names}}
    refuse_unknown("label", name, list(full), names)
    return full[name]


def refuse_unknown(kind: str, name: str, spellings: Sequence[str], names: Sequence[str] | None = None) -> None:
    """Passes a name that is one of `spellings`; the message lists `names`, or else the spellings.

    Raises:
        ConfigError: it is none of them.
    """
    if name in spellings:
        return
    matches = close_matches(name, spellings)
    hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
    there_are = ", ".join(names if names is not None else spellings) or "none"
    raise ConfigError(f"the sweep has no {kind} {name!r}.{hint} There are: {there_are}")
