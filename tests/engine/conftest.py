"""Small trainings that take seconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_runs import options

from fastreid_ext.config import CfgNode, load_config


@pytest.fixture
def make_cfg(market_folder: Callable[..., Path], tmp_path: Path) -> Callable[..., CfgNode]:
    """Configs of such a training; keyword arguments are keys with `__` for dots."""
    data = market_folder()

    def make(output: str = "run", **more: Any) -> CfgNode:
        return load_config(
            "", options(data, tmp_path / output, **{key.replace("__", "."): value for key, value in more.items()})
        )

    return make
