"""What words on a command line are."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["is_key", "misplaced_option"]

_KEY = re.compile(r"[A-Z][A-Z0-9_]*(\.\w+)*")


def is_key(word: str) -> bool:
    """Whether a word looks like a config key: `TEST.METRIC`, `SEED`."""
    return _KEY.fullmatch(word) is not None


def misplaced_option(words: Sequence[str]) -> str:
    """The first option, such as `--resume`, that argparse took for one of the `KEY VALUE` words; "" for none."""
    return next((word.partition("=")[0] for word in words if re.match("--[a-z]", word)), "")
