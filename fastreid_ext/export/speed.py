"""How quick models are."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from statistics import median

import torch

from fastreid_ext.inference.embedder import Embedder

__all__ = ["images_per_second"]


def images_per_second(
    embedders: Mapping[str, Embedder], batch_sizes: Sequence[int], *, rounds: int = 5
) -> dict[str, list[float]]:
    """Images a second of each model at each batch size: medians of rounds in which they take turns.

    Args:
        embedders: by name; of images of one size.
        batch_sizes: images at a time.
        rounds: timed ones.
    """
    size = next(iter(embedders.values())).card.size
    rates: dict[str, list[float]] = {name: [] for name in embedders}
    for count in batch_sizes:
        images = torch.zeros(count, 3, *size, dtype=torch.uint8)
        seconds: dict[str, list[float]] = {name: [] for name in embedders}
        # The first round warms up.
        for _ in range(1 + rounds):
            for name, embedder in embedders.items():
                start = time.perf_counter()
                embedder.embed(images)
                seconds[name].append(time.perf_counter() - start)
        for name, values in seconds.items():
            rates[name].append(count / median(values[1:]))
    return rates
