"""One or several processes for a run."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from fastreid_ext.utils.dist import leave_group

__all__ = ["launch"]

_TIMEOUT = timedelta(minutes=30)


def launch(
    main: Callable[..., Any],
    args: tuple[Any, ...] = (),
    *,
    num_processes: int = 1,
    num_machines: int = 1,
    machine_rank: int = 0,
    dist_url: str = "auto",
    device: str = "auto",
) -> None:
    """Calls `main(*args)` in every process of the run.

    Under `torchrun` this process is one of them already and `num_processes` is passed over. Otherwise as many processes
    are started on this machine, one a GPU; without a GPU they train on the CPU together, by gloo.

    Args:
        main: importable, as it is sent to other processes by name.
        args: picklable.
        num_processes: on this machine.
        num_machines: how many machines take part.
        machine_rank: which one this is.
        dist_url: `tcp://host:port` of machine 0; "auto" finds a free port when there is one machine.
        device: `MODEL.DEVICE`.

    Raises:
        ValueError: more processes than GPUs, or several machines without `dist_url`.
    """
    on_gpu = not device.startswith("cpu") and torch.cuda.is_available()
    if "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ:
        _join(int(os.environ["LOCAL_RANK"]), on_gpu=on_gpu)
        _run(main, args)
        return
    world_size = num_processes * num_machines
    if world_size <= 1:
        main(*args)
        return
    if on_gpu and num_processes > torch.cuda.device_count():
        raise ValueError(f"--num-gpus {num_processes}, but this machine has {torch.cuda.device_count()} GPUs")
    if dist_url == "auto":
        if num_machines > 1:
            raise ValueError("several machines need --dist-url tcp://<host of machine 0>:<port>")
        dist_url = f"tcp://127.0.0.1:{_free_port()}"
    if not 0 <= machine_rank < num_machines:
        raise ValueError(f"--machine-rank {machine_rank} is none of 0 to {num_machines - 1}")
    first_rank = machine_rank * num_processes
    # Ctrl-C reaches the processes as well: they save and stop, and this one waits for them.
    previous = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        spawn(  # type: ignore[no-untyped-call]  # torch leaves it untyped
            _worker,
            (main, args, world_size, first_rank, num_processes, dist_url, on_gpu),
            nprocs=num_processes,
            join=True,
        )
    finally:
        signal.signal(signal.SIGINT, previous)


def _worker(
    local_rank: int,
    main: Callable[..., Any],
    args: tuple[Any, ...],
    world_size: int,
    first_rank: int,
    local_size: int,
    dist_url: str,
    on_gpu: bool,
) -> None:
    # As torchrun sets it: what the processes of a machine share is divided by it.
    os.environ["LOCAL_WORLD_SIZE"] = str(local_size)
    _join(local_rank, on_gpu=on_gpu, init_method=dist_url, world_size=world_size, rank=first_rank + local_rank)
    _run(main, args)


def _join(local_rank: int, *, on_gpu: bool, **rendezvous: Any) -> None:
    if on_gpu:
        torch.cuda.set_device(local_rank)
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=_TIMEOUT, **rendezvous)


def _run(main: Callable[..., Any], args: tuple[Any, ...]) -> None:
    # After an error the group is not destroyed: that would wait for processes that may hang in an exchange.
    main(*args)
    leave_group()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
