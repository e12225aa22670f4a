"""`Name:key=value,...`: a registered part with its options, in one string of a config."""

from __future__ import annotations

import re
from ast import literal_eval
from collections.abc import Sequence
from typing import Any

from fastreid_ext.config.node import ConfigError

__all__ = ["parse_options", "parse_spec"]

# A comma separates options only where another option begins, so that tuples and paths may hold commas.
_SEPARATOR = re.compile(r",\s*(?=[A-Za-z_]\w*=)")
_OPTION = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)


def parse_spec(spec: str) -> tuple[str, list[Any], dict[str, Any]]:
    """Splits `"Name:argument,key=value"` into the name, positional arguments and keyword arguments.

    Values are Python literals, anything else is text: `"SynthReID:kind=vehicle,seed=3"`,
    `"MarketLayout:/data/mine"`.

    Raises:
        ConfigError: a positional argument after a keyword argument.
    """
    name, _, rest = spec.partition(":")
    if not rest:
        return name, [], {}
    first, *others = _SEPARATOR.split(rest)
    if _OPTION.fullmatch(first):
        return name, [], parse_options([first, *others])
    return name, [_value(first)], parse_options(others)


def parse_options(options: Sequence[str]) -> dict[str, Any]:
    """Keyword arguments from `["key=value", ...]`.

    Raises:
        ConfigError: an option without `=`.
    """
    pairs = {}
    for option in options:
        match = _OPTION.fullmatch(option.strip())
        if match is None:
            raise ConfigError(f"option {option!r} is not of the form key=value")
        pairs[match[1]] = _value(match[2])
    return pairs


def _value(text: str) -> Any:
    text = text.strip()
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False}.get(text.lower(), text)
