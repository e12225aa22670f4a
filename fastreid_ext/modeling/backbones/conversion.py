"""Published weights of the same network as a backbone's own: other names, another epsilon in its norms."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from torch import Tensor

__all__ = ["Rules", "absorb_epsilon", "rename"]

Rules = Mapping[str, str | Callable[[re.Match[str]], str]]
"""Patterns, and what `re.sub` puts in their place."""

EPSILON = 1e-5
"""Of torch's norms and of those that `build_norm` makes."""


def rename(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """The state with all rules applied in turn to its names."""

    def renamed(name: str) -> str:
        for pattern, replacement in rules.items():
            name = re.sub(pattern, replacement, name)
        return name

    return {renamed(name): value for name, value in state.items()}


def absorb_epsilon(state: Mapping[str, Tensor], epsilon: float) -> dict[str, Tensor]:
    """The state for norms with the usual epsilon, if it was trained with another: the variances take the difference."""
    return {
        name: value + (epsilon - EPSILON) if name.endswith(".running_var") else value for name, value in state.items()
    }
