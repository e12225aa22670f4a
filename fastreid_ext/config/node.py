"""A yacs node that merges strictly and explains itself when it refuses."""

from __future__ import annotations

from ast import literal_eval
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from yacs.config import CfgNode as _YacsNode

from fastreid_ext import projects
from fastreid_ext.registry import close_matches

__all__ = ["AUTO", "CfgNode", "ConfigError"]


AUTO = "auto"

# Numbers that may be AUTO instead.
_AUTOMATIC = ("SOLVER.BASE_LR",)


class ConfigError(KeyError, ValueError):
    """A config that cannot be used; the message says which key, where it stands and what to do."""

    def __str__(self) -> str:
        return str(self.args[0])


class CfgNode(_YacsNode):  # type: ignore[misc]  # yacs has no types
    """yacs' CfgNode whose merges refuse unknown keys with close matches and name the file of every fault."""

    def merge_from_mapping(self, values: Mapping[str, Any], source: str = "the given values") -> None:
        """Overwrites keys with nested `values`; `source` is named in errors.

        Raises:
            ConfigError: a key that does not exist, or a value of another type than the default's.
        """
        known = dict(self.leaves())
        for key, value in _flatten(values):
            if key not in known:
                raise ConfigError(self._unknown(key, known, source))
            self._set(key, _convert(key, known[key], value, source))

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """Overwrites keys with `[KEY, value, KEY, value, ...]`, as typed on a command line.

        Raises:
            ConfigError: see `merge_from_mapping`; also a key without a value.
        """
        if len(cfg_list) % 2:
            raise ConfigError(f"options come in pairs KEY VALUE; the last key, {cfg_list[-1]!r}, has no value")
        for key, value in zip(cfg_list[::2], cfg_list[1::2], strict=True):
            self.merge_from_mapping({str(key): value}, "the command line")

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Any]]:
        """All `(dotted key, value)` pairs, nodes left out."""
        for key, value in self.items():
            if isinstance(value, CfgNode):
                yield from value.leaves(f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    def _set(self, key: str, value: Any) -> None:
        *path, name = key.split(".")
        node = self
        for part in path:
            node = node[part]
        if node.is_frozen():
            raise ConfigError(f"the config is frozen: {key} cannot be set any more; clone() and defrost() it first")
        node[name] = value

    def _unknown(self, key: str, known: Mapping[str, Any], source: str) -> str:
        nodes = {leaf.rsplit(".", depth)[0] for leaf in known for depth in range(1, leaf.count(".") + 1)}
        if key in nodes:
            return f"{key} in {source} is a section of the config, not a value"
        matches = close_matches(key, known)
        last = key.rpartition(".")[2]
        matches += [leaf for leaf in known if leaf.rpartition(".")[2] == last and leaf not in matches][:3]
        hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
        return (
            f"unknown config key {key} in {source}.{hint} If it is a project's key, name the project in PROJECTS: "
            f"{', '.join(projects.available())}."
        )


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _convert(key: str, default: Any, value: Any, source: str) -> Any:
    """`value` as the type of `default`, where nothing is lost by it."""
    if key in _AUTOMATIC:
        if value == AUTO:
            return AUTO
        # What it was may have been AUTO.
        default = 1.0
    if isinstance(value, str) and not isinstance(default, str):
        value = _literal(value)
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(default, (tuple, list)):
        if isinstance(value, (tuple, list)):
            return type(default)(value)
        if isinstance(value, str):
            return type(default)([value])
    if isinstance(default, str) and value is None:
        return ""
    if type(value) is type(default):
        return value
    article = "an" if isinstance(default, int) and not isinstance(default, bool) else "a"
    raise ConfigError(
        f"{key} in {source} is {value!r} ({type(value).__name__}), "
        f"but takes {article} {type(default).__name__} such as {default!r}{' or auto' if key in _AUTOMATIC else ''}"
    )


def _literal(text: str) -> Any:
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text
