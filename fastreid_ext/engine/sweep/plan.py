"""Which trainings a sweep consists of."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastreid_ext.config import CfgNode, ConfigError, load_config
from fastreid_ext.config.loader import find_config
from fastreid_ext.engine.sweep.candidates import as_candidate, identity, stored_config

__all__ = ["Setting", "parse_options", "plan_choices", "plan_settings"]

_AXIS = re.compile(r"([A-Z][A-Z0-9_]*(?:\.\w+)*)=(.*)", re.DOTALL)
_OPENING, _CLOSING, _QUOTES = "([{", ")]}", "\"'"
# What a run sets for itself.
_NOT_VARIED = {"OUTPUT_DIR": "write OUTPUT_DIR <folder>, in which every run has its own", "SEED": "use --seeds"}
_LONGEST_NAME = 100


@dataclass(frozen=True)
class Setting:
    """A config with one value of each axis.

    Attributes:
        name: of its folder.
        labels: "config" and the axes' keys, with the values as typed.
        cfg: frozen; its SEED is that of the first run.
    """

    name: str
    labels: Mapping[str, str]
    cfg: CfgNode


def parse_options(words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Splits what stands behind the options of the command line into axes and overwritten keys.

    Args:
        words: `KEY=v1,v2` is an axis, `KEY VALUE` overwrites. Commas in brackets or quotes do not part values; quotes
            around a value are taken off.

    Returns:
        The values of each axis, and `[KEY, VALUE, ...]`.

    Raises:
        ConfigError: a key without a value, an axis that comes twice or is not for sweeps, a value that comes twice or
            whose brackets or quotes do not close.
    """
    axes: dict[str, list[str]] = {}
    fixed: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        match = _AXIS.fullmatch(word)
        if match is None:
            if not rest:
                raise ConfigError(f"{word!r} has no value: write KEY VALUE to overwrite, KEY=v1,v2 to try several")
            fixed += [word, rest.pop(0)]
            continue
        key, values = match[1], [_unquoted(value) for value in _split(match[2], word)]
        if key in axes:
            raise ConfigError(f"{key} is given twice: write all its values as one {key}=v1,v2")
        if key in _NOT_VARIED:
            raise ConfigError(f"{key} cannot be an axis of a sweep: {_NOT_VARIED[key]}")
        if len(set(values)) < len(values):
            raise ConfigError(f"{word}: a value comes twice")
        axes[key] = values
    both = sorted(axes.keys() & set(fixed[::2]))
    if both:
        raise ConfigError(f"{both[0]} is given twice: as {both[0]}=... and as {both[0]} VALUE")
    return axes, fixed


def plan_settings(
    config_files: Sequence[str], axes: Mapping[str, Sequence[str]], fixed: Sequence[str] = ()
) -> list[Setting]:
    """Every config with every combination of the axes' values, the last axis varying fastest.

    Args:
        config_files: paths or short names; empty for the defaults alone.
        axes: values of each key, as text.
        fixed: `[KEY, VALUE, ...]` for all.

    Raises:
        ConfigError: see `plan_choices`.
    """
    combinations = itertools.product(*axes.values())
    return plan_choices(config_files, [dict(zip(axes, values, strict=True)) for values in combinations], fixed)


def plan_choices(
    config_files: Sequence[str], choices: Sequence[Mapping[str, str]], fixed: Sequence[str] = ()
) -> list[Setting]:
    """Every config with every choice of values.

    Args:
        config_files: paths or short names; empty for the defaults alone.
        choices: values by key, as text.
        fixed: `[KEY, VALUE, ...]` for all.

    Raises:
        ConfigError: a config twice, an unknown key, a value of the wrong type, settings that are the same training.
    """
    settings: list[Setting] = []
    same: dict[str, str] = {}
    files = list(config_files) or [""]
    for file, config in zip(files, _config_names(files), strict=True):
        for chosen in choices:
            cfg = load_config(file, [*fixed, *itertools.chain.from_iterable(chosen.items())])
            labels = {"config": config, **chosen}
            setting = Setting(_folder_name(labels), labels, cfg)
            first = same.setdefault(identity(as_candidate("", cfg.SEED, stored_config(cfg))), setting.name)
            if first != setting.name:
                raise ConfigError(f"{first} and {setting.name} are the same training under two names: leave one out")
            settings.append(setting)
    return settings


def _split(text: str, word: str) -> list[str]:
    """At commas that stand in no bracket and no quotes; quotes begin a value, or stand in brackets."""
    values, depth, lowest, quote = [""], 0, 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in _QUOTES and (depth or not values[-1].strip()):
            quote = character
        elif character in _OPENING:
            depth += 1
        elif character in _CLOSING:
            depth -= 1
            lowest = min(lowest, depth)
        if character == "," and not quote and not depth:
            values.append("")
        else:
            values[-1] += character
    values = [value.strip() for value in values]
    if quote or depth or lowest:
        raise ConfigError(f"{word}: brackets or quotes do not close")
    if "" in values:
        raise ConfigError(f'{word}: a value is empty; write "" for no text')
    return values


def _unquoted(value: str) -> str:
    quoted = len(value) > 1 and value[0] in _QUOTES and value.find(value[0], 1) == len(value) - 1
    return value[1:-1] if quoted else value


def _config_names(files: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that tell them apart."""
    found = [find_config(file).resolve() if file else Path("defaults") for file in files]
    twice = [file for file, count in zip(files, map(found.count, found), strict=True) if count > 1]
    if twice:
        raise ConfigError(f"the config {twice[-1]} is given twice")
    paths = [path.with_name(re.sub(r"\.ya?ml$", "", path.name)) for path in found]
    names = [path.name for path in paths]
    for length in range(2, max(len(path.parts) for path in paths) + 1):
        counts = Counter(names)
        names = [
            "/".join(path.parts[-length:]) if counts[name] > 1 else name
            for name, path in zip(names, paths, strict=True)
        ]
    return names


def _folder_name(labels: Mapping[str, str]) -> str:
    """Readable, and different for different settings."""
    parts = [
        labels["config"],
        *(f"{key.rpartition('.')[2]}={value}" for key, value in labels.items() if key != "config"),
    ]
    text = ",".join(parts)
    name = re.sub(r"[^\w.,=+-]+", "_", text, flags=re.ASCII)
    # With several axes, a comma may be one between them or one of a value.
    if name == text and len(name) <= _LONGEST_NAME and len(labels) <= 2:
        return name
    return f"{name[:_LONGEST_NAME]}-{hashlib.sha256(repr(dict(labels)).encode()).hexdigest()[:6]}"
