"""What words on a command line are."""

from __future__ import annotations

import re

__all__ = ["is_key"]

_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")


def is_key(word: str) -> bool:
    """Whether a word looks like a config key: `TEST.METRIC`, `SEED`."""
    return _KEY.fullmatch(word) is not None
