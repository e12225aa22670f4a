"""Importing FastReID 1.4.0 with today's Python and PyTorch."""

from __future__ import annotations

import collections
import collections.abc
import importlib
import importlib.util
import logging
import math
import sys
from types import ModuleType
from typing import Any

__all__ = ["LOGGER", "import_original", "make_importable"]

LOGGER = logging.getLogger("fastreid.ext")
"""For what is said inside FastReID, whose handlers are those of its own logger."""


def make_importable() -> None:
    """Puts back what FastReID imports and Python 3.10 and PyTorch 2.0 have taken away.

    These are the names of `collections.abc` in `collections`, such as `collections.Mapping`, and the module
    `torch._six`. Names that are there are left as they are. To be called before FastReID is imported.
    """
    for name in collections.abc.__all__:
        if not hasattr(collections, name):
            setattr(collections, name, getattr(collections.abc, name))
    if "torch._six" not in sys.modules and importlib.util.find_spec("torch._six") is None:
        six: Any = ModuleType("torch._six")
        six.string_classes, six.int_classes = (str, bytes), int
        six.container_abcs, six.inf = collections.abc, math.inf
        sys.modules["torch._six"] = six


def import_original(module: str) -> Any:
    """Imports a module of FastReID.

    Args:
        module: such as "fastreid.modeling".

    Raises:
        ImportError: FastReID is not there, or does not import; the message says what to do.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{module} does not import ({error}): {_advice(error)}") from error


def _advice(error: ImportError) -> str:
    if error.name == "fastreid":
        return (
            "install the original, pip install --no-deps fastreid==1.4.0 termcolor cython, "
            "or put your copy on PYTHONPATH"
        )
    if error.name in ("collections", "torch._six"):
        return (
            "put these two lines above the first import of fastreid: "
            "`from fastreid_ext.compat.fastreid import make_importable` and `make_importable()`"
        )
    return "FastReID needs it, whoever imports it"
