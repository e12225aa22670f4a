"""Environment variables that give a worker process its share of the machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from fastreid_ext.search.errors import SearchError

__all__ = ["environment", "worker_variables"]


def worker_variables(worker: int, *, cpus: int, gpus: float) -> dict[str, str]:
    """The variables of one worker.

    Args:
        worker: its place, from 0.
        cpus: threads; 0 leaves their number to the libraries.
        gpus: GPUs of its own, or a part of one that it shares with its neighbours; 0 leaves all of them visible.

    Raises:
        SearchError: there are not enough GPUs, or a worker's number of them is neither whole nor below 1.
    """
    variables = {"OMP_NUM_THREADS": str(cpus), "MKL_NUM_THREADS": str(cpus)} if cpus else {}
    if gpus <= 0:
        return variables
    if gpus > 1 and gpus != int(gpus):
        raise SearchError(f"GPUs per trial are a whole number, or a part of one: not {gpus}")
    visible = _visible_gpus()
    count = max(1, int(gpus))
    first = worker * count if gpus >= 1 else worker // int(1 / gpus)
    if first + count > len(visible):
        raise SearchError(
            f"worker {worker + 1} needs GPU {first + count}, and {len(visible)} are visible: "
            "take fewer workers, or fewer GPUs per trial"
        )
    return {**variables, "CUDA_VISIBLE_DEVICES": ",".join(visible[first : first + count])}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Inside the block, processes are started with these variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _visible_gpus() -> list[str]:
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip()]
    return [str(index) for index in range(torch.cuda.device_count())]
