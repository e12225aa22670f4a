"""A model that needs no training, and images for it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from fastreid_ext.data.image import UnreadableImage, read_image
from fastreid_ext.gallery import Item
from fastreid_ext.inference import Embedded, ModelCard


class Thumbnails:
    """Embeds images as their pixels at 4x4: a stand-in for `Predictor`, in whose place it answers the same."""

    def __init__(self, fingerprint: str = "thumbnails", **card: Any) -> None:
        self.card = ModelCard(fingerprint, (4, 4), 48, **card)
        self.embedded: list[str] = []

    def stream(self, items: Iterable[Any], /) -> Iterator[Embedded]:
        for item in items:
            self.embedded.append(item)
            try:
                pixels = np.asarray(read_image(item).resize((4, 4)), np.float32)
            except UnreadableImage as error:
                yield Embedded(item, error=error)
            else:
                yield Embedded(item, torch.from_numpy(pixels.reshape(-1) - 127.5))


def write_images(folder: Path, number: int, *, seed: int = 0, pids: int = 5) -> list[str]:
    """Images in Market-1501's naming; those of one identity are alike."""
    folder.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(99).integers(0, 256, (pids, 4, 4, 3))
    rng = np.random.default_rng(seed)
    paths = []
    for i in range(number):
        path = folder / f"{i % pids + 1:04d}_c{i % 3 + 1}s1_{seed:03d}{i:05d}.png"
        pixels = np.clip(colours[i % pids] + rng.integers(-30, 31, (4, 4, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
        paths.append(str(path))
    return paths


def as_items(paths: Iterable[str]) -> list[Item]:
    return [Item(path) for path in paths]
