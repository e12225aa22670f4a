"""Test functions run in several processes at once."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from torch.multiprocessing.spawn import start_processes

# The imports are made once, in the process from which all others are forked.
multiprocessing.set_forkserver_preload(["pytest", "fastreid_ext.engine.cli.train"])


def run_ranks(function: Callable[..., Any], args: tuple[Any, ...], *, processes: int = 2) -> None:
    """Calls `function(rank, *args)` in each process; an exception of one is raised here."""
    start_processes(function, args, nprocs=processes, start_method="forkserver")  # type: ignore[no-untyped-call]
