"""What a run runs on, for logs and benchmark files."""

from __future__ import annotations

import os
import platform
from typing import Any

import torch

__all__ = ["machine_info", "require"]


def machine_info() -> dict[str, Any]:
    """Python, torch, processor and accelerator of this machine."""
    import numpy
    import torchvision

    info: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        info["gpu"] = torch.cuda.get_device_name()
    return info


def require(module: str, extra: str, purpose: str) -> Any:
    """Imports an optional dependency.

    Raises:
        ImportError: it is not installed; the message names the extra to install.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs the package '{module.split('.')[0]}': pip install 'fastreid_ext[{extra}]'"
        ) from error
