"""FastReID's YAML files with their bases, read as they are: no key has to exist."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fastreid_ext.config import ConfigError

__all__ = ["Duplicate", "Given", "Reading", "flatten", "read_chain"]


@dataclass(frozen=True)
class Given:
    """A value as it stands in a file.

    Attributes:
        value: what YAML makes of it.
        source: the file, or "the command line".
        rank: of the source; later ones win.
    """

    value: Any
    source: str
    rank: int


@dataclass(frozen=True)
class Duplicate:
    """A key that stands twice in one section of a file."""

    key: str
    source: str
    lines: tuple[int, int]
    section: bool


@dataclass(frozen=True)
class Reading:
    """A file and its bases.

    Attributes:
        files: bases first.
        given: by dotted key, the value that wins.
        duplicates: of all files.
    """

    files: tuple[Path, ...]
    given: Mapping[str, Given]
    duplicates: tuple[Duplicate, ...]


class _Loader(yaml.SafeLoader):
    """Also reads the tuples that a dumped config may hold."""


def _tuple(loader: _Loader, node: yaml.Node) -> list[Any]:
    assert isinstance(node, yaml.SequenceNode)
    return loader.construct_sequence(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def read_chain(path: Path) -> Reading:
    """The values of a file and of the files that `_BASE_` names, each with where it stands.

    Raises:
        ConfigError: a file is missing, is no YAML, holds no keys, or is its own base.
    """
    files: list[Path] = []
    given: dict[str, Given] = {}
    duplicates: list[Duplicate] = []
    for file, values, twice in _chain(path, ()):
        files.append(file)
        duplicates += twice
        for key, value in flatten(values):
            given[key] = Given(value, file.name, len(files))
    return Reading(tuple(files), given, tuple(duplicates))


def flatten(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All `(dotted key, value)` pairs of nested values."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        elif not isinstance(value, Mapping):
            yield f"{prefix}{key}", value


def _chain(path: Path, above: tuple[Path, ...]) -> Iterator[tuple[Path, dict[str, Any], list[Duplicate]]]:
    if path.resolve() in above:
        raise ConfigError(f"{path} is its own _BASE_")
    values, duplicates = _read(path, above)
    for base in _bases(path, values.pop("_BASE_", None)):
        yield from _chain(base, (*above, path.resolve()))
    yield path, values, duplicates


def _read(path: Path, above: tuple[Path, ...]) -> tuple[dict[str, Any], list[Duplicate]]:
    named = f", the _BASE_ of {above[-1]}" if above else ""
    if not path.is_file():
        raise ConfigError(f"no config file {path}{named}")
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        values = {} if node is None else loader.construct_document(node)
    except (UnicodeDecodeError, yaml.reader.ReaderError) as error:
        raise ConfigError(f"{path}{named} is no text file") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}{named}: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must hold keys and values, not a {type(values).__name__}")
    return values, list(_duplicates(node, path.name))


def _bases(path: Path, value: Any) -> list[Path]:
    names = value if isinstance(value, list) else [value] if value else []
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"_BASE_ in {path} is {value!r}; it takes a file or a list of files")
        if "://" in name:
            raise ConfigError(f"_BASE_ in {path} is the address {name}: download that file and name it here")
    return [path.parent / Path(name).expanduser() for name in names]


def _duplicates(node: yaml.Node | None, source: str, prefix: str = "") -> Iterator[Duplicate]:
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in seen:
            yield Duplicate(name, source, (seen[name], line), isinstance(value, yaml.MappingNode))
        seen[name] = line
        yield from _duplicates(value, source, f"{name}.")
