"""A registry of named, self-describing parts."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["Entry", "Registry", "RegistryError", "close_matches"]

T = TypeVar("T", bound=Callable[..., Any])


class RegistryError(KeyError):
    """An unknown or a duplicate name; the message is meant for people."""

    def __str__(self) -> str:
        return str(self.args[0])


def close_matches(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """Names among `candidates` that `name` may have been meant to be, letter case ignored, best first."""
    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    return [by_folded[match] for match in difflib.get_close_matches(name.casefold(), by_folded, count, cutoff=0.5)]


@dataclass(frozen=True)
class Entry:
    """One registered part."""

    name: str
    target: Callable[..., Any]
    description: str
    source: str
    aliases: tuple[str, ...] = ()


class Registry:
    """Maps names to classes or functions that users may add to.

    A name can be registered once. An unknown name is an error that lists close matches.

    Example:
        >>> BACKBONES = Registry("backbone")
        >>> @BACKBONES.register(source="He et al. 2016")
        ... def resnet(depth):
        ...     '''Residual network.'''
        >>> BACKBONES.get("resnet").__name__
        'resnet'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}
        self._resolvers: dict[str, Callable[[str], Any]] = {}

    def register(self, name: str | None = None, *, source: str = "", aliases: Iterable[str] = ()) -> Callable[[T], T]:
        """Decorator that registers a class or function; its description is the first line of its docstring.

        Raises:
            RegistryError: the name or an alias is taken by another object.
        """

        def decorate(target: T) -> T:
            key = name or target.__name__
            description = (inspect.getdoc(target) or "").split("\n", 1)[0]
            entry = Entry(key, target, description, source, tuple(aliases))
            for spelling in (key, *entry.aliases):
                self._refuse_duplicate(spelling, target)
            self._entries[key] = entry
            self._names.update(dict.fromkeys((key, *entry.aliases), key))
            return target

        return decorate

    def register_prefix(self, prefix: str, resolve: Callable[[str], Any]) -> None:
        """Names `<prefix>:<rest>` are resolved by `resolve(rest)`, for whole libraries of parts such as `timm:`."""
        self._resolvers[prefix] = resolve

    def get(self, name: str) -> Any:
        """The part registered under `name` or an alias of it.

        Raises:
            RegistryError: nothing is registered under that name.
        """
        prefix, colon, rest = name.partition(":")
        if colon and prefix in self._resolvers:
            return self._resolvers[prefix](rest)
        if name not in self._names:
            raise RegistryError(self._unknown(name))
        return self._entries[self._names[name]].target

    def names(self) -> list[str]:
        """The registered names without aliases, sorted."""
        return sorted(self._entries)

    def describe(self) -> str:
        """A plain-text table of the entries: name, aliases, description, source."""
        from tabulate import tabulate

        rows = [
            (entry.name, ", ".join(entry.aliases), entry.description, entry.source)
            for entry in sorted(self._entries.values(), key=lambda entry: entry.name)
        ]
        rows += [(f"{prefix}:<name>", "", inspect.getdoc(f) or "", "") for prefix, f in sorted(self._resolvers.items())]
        return tabulate(rows, headers=["name", "aliases", "description", "source"])

    def __contains__(self, name: str) -> bool:
        return name in self._names or name.partition(":")[0] in self._resolvers

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def _refuse_duplicate(self, name: str, target: Callable[..., Any]) -> None:
        if name not in self._names:
            return
        known = self._entries[self._names[name]].target
        raise RegistryError(
            f"{self.kind} '{name}' is registered twice: by {known.__module__}.{known.__qualname__} "
            f"and by {target.__module__}.{target.__qualname__}. Give one of them another name."
        )

    def _unknown(self, name: str) -> str:
        matches = close_matches(name, self._names)
        hint = f" Did you mean {' or '.join(matches)}?" if matches else ""
        prefixes = [f"{prefix}:<name>" for prefix in self._resolvers]
        known = ", ".join(self.names() + prefixes)
        return (
            f"unknown {self.kind} '{name}'.{hint} Registered: {known}. "
            f"If it belongs to a project, add that project to PROJECTS in the config."
        )
