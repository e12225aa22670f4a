"""Timing that can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from statistics import median

import torch

__all__ = ["alternate", "synchronize"]


def alternate(runs: Mapping[str, Callable[[], object]], *, repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each function, run in turn, so that a machine that slows down slows all of them.

    Args:
        runs: what to time, by name; each is called once before, untimed.
        repeats: timed rounds.
        device: "cuda" waits for the GPU before reading the clock.
    """
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for timed in [False] + [True] * repeats:
        for name, run in runs.items():
            synchronize(device)
            started = time.perf_counter()
            run()
            synchronize(device)
            if timed:
                seconds[name].append(time.perf_counter() - started)
    return {name: median(values) for name, values in seconds.items()}


def synchronize(device: str) -> None:
    """Waits for the GPU, if there is one to wait for."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
