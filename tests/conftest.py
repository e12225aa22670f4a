"""What all tests share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# Two test processes share two cores; more threads only get in each other's way, and one gives the same bits each time.
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps decoded images out of the user's cache folder, in the processes that tests start, too."""
    monkeypatch.setenv("FASTREID_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def _one_way_of_records() -> None:
    """Programs that earlier tests ran keep the library's records from the root logger; `caplog` would get both ways."""
    logging.getLogger("fastreid_ext").propagate = True


@pytest.fixture
def market_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a small data set in Market-1501 layout: every identity has its own colour, every camera its own light."""

    def make(
        name: str = "market", *, train_ids: int = 8, test_ids: int = 4, cameras: int = 2, shots: int = 3, seed: int = 0
    ) -> Path:
        root = tmp_path / name
        rng = np.random.default_rng(seed)
        for pid in range(1, train_ids + test_ids + 1):
            colour = rng.integers(40, 216, 3)
            for camera in range(1, cameras + 1):
                for shot in range(shots):
                    split = "bounding_box_train" if pid <= train_ids else "bounding_box_test" if shot else "query"
                    noise = rng.integers(-40, 40, (32, 16, 3)) + 10 * camera
                    pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
                    file = root / split / f"{pid:04d}_c{camera}s1_{shot:06d}_00.jpg"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(file, quality=90)
        return root

    return make
