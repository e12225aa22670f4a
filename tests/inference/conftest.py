"""A model and images that all tests may read."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_models import draw_images, save_checkpoint, small_config, small_model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small model, with its config inside, in the folder of a run."""
    cfg = small_config()
    return save_checkpoint(tmp_path_factory.mktemp("run") / "model_best.pth", cfg, small_model(cfg))


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files of several kinds and sizes."""
    return draw_images(tmp_path_factory.mktemp("images"))
