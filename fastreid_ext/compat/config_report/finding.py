"""Something worth saying about a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Finding", "did_you_mean"]


@dataclass(frozen=True)
class Finding:
    """One thing to say.

    Attributes:
        key: the config key that it is about, or what else stands at its head.
        text: sentences that stand alone.
        as_fastreid: keys of ours with which it is done as FastReID does it.
    """

    key: str
    text: str
    as_fastreid: Mapping[str, Any] = field(default_factory=dict)


def did_you_mean(matches: list[str]) -> str:
    """A question to follow a sentence, of the two best matches; nothing without any."""
    return f" Did you mean {' or '.join(matches[:2])}?" if matches else ""
