"""Names that FastReID imports and that Python and PyTorch no longer have."""

from __future__ import annotations

import collections
import collections.abc
import importlib.util
import sys
from types import ModuleType

__all__ = ["make_importable"]


def make_importable() -> None:
    """Puts back `collections.Mapping`, gone since Python 3.10, and `torch._six`, gone since PyTorch 2.0.

    To be called before `import fastreid`. Names that are there are left as they are.
    """
    if not hasattr(collections, "Mapping"):
        collections.Mapping = collections.abc.Mapping  # type: ignore[attr-defined]
    if "torch._six" not in sys.modules and importlib.util.find_spec("torch._six") is None:
        six = ModuleType("torch._six")
        six.string_classes = (str, bytes)  # type: ignore[attr-defined]
        sys.modules["torch._six"] = six
