"""Evaluations on a Ray cluster."""

from __future__ import annotations

import os
import pickle
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastreid_ext.search.backends.devices import environment
from fastreid_ext.search.backends.pool import Slot, WorkerPool
from fastreid_ext.search.backends.worker import Worker, describe_error
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.protocols import EvaluatorFactory, Job, Outcome
from fastreid_ext.utils.env import require
from fastreid_ext.utils.logger import get_logger

__all__ = ["RayBackend"]

_CONNECT_SECONDS = 5


class _Actor:
    """What runs in a Ray worker."""

    def __init__(self, factory: bytes, name: str, threads: int) -> None:
        self._factory, self._name, self._threads = factory, name, threads

    def prepare(self) -> str:
        """Makes the evaluator; returns why it could not."""
        try:
            self._worker = Worker(pickle.loads(self._factory), name=self._name, threads=self._threads)
        except Exception as error:
            return describe_error(error)
        return ""

    def evaluate(self, job: Job) -> tuple[Outcome, bool]:
        """The outcome, and whether this worker can do no more."""
        return self._worker(job), self._worker.broken


@dataclass
class _Handle:
    """An actor, and what it has been asked for: its preparation, then one evaluation after the other."""

    actor: Any
    pending: Any


class RayBackend(WorkerPool[_Handle]):
    """Workers that are Ray actors; one that dies with its node, or takes too long, is replaced.

    Args:
        factory: makes the evaluator, once in each worker; must pickle, and its module be installed on all nodes.
        workers: how many.
        cpus_per_trial: CPUs that each reserves, and its threads; 0 reserves one.
        gpus_per_trial: GPUs that each reserves.
        time_limit: seconds after which an evaluation is ended and counts as failed; 0 waits for ever.
        address: of an existing cluster, `auto` or `host:port`; an empty one starts Ray on this machine.

    Raises:
        ImportError: Ray is not installed.
        SearchError: there is no cluster at the address.
    """

    def __init__(
        self,
        factory: EvaluatorFactory,
        *,
        workers: int = 1,
        cpus_per_trial: int = 0,
        gpus_per_trial: float = 0,
        time_limit: float = 0,
        address: str = "",
    ) -> None:
        super().__init__("ray", workers=workers, time_limit=time_limit)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        self._ray = require("ray", "search", "a search on Ray")
        self._threads = cpus_per_trial
        # Cloudpickle also sends what was defined in the main script.
        self._factory = self._ray.cloudpickle.dumps(factory)
        cpus = max(1, cpus_per_trial)
        self._own = not self._ray.is_initialized()
        if self._own:
            _check_address(address)
            _connect(self._ray, address, cpus=workers * cpus)
        _warn_of_waiting(self._ray.available_resources(), {"CPU": workers * cpus, "GPU": workers * gpus_per_trial})
        self._actors = self._ray.remote(_Actor).options(num_cpus=cpus, num_gpus=gpus_per_trial, max_restarts=0)
        self._fill()

    def close(self) -> None:
        """Ends all workers, and Ray where it was started here."""
        slots, self._slots = self._slots, []
        for slot in slots:
            self._kill(slot.handle)
        if self._own and self._ray.is_initialized():
            self._ray.shutdown()

    def _start(self, index: int) -> _Handle:
        actor = self._actors.remote(self._factory, self._name(index), self._threads)
        return _Handle(actor, actor.prepare.remote())

    def _send(self, handle: _Handle, job: Job) -> None:
        handle.pending = handle.actor.evaluate.remote(job)

    def _kill(self, handle: _Handle) -> None:
        self._ray.kill(handle.actor)

    def _collect(self, seconds: float) -> list[Outcome]:
        pending = {slot.handle.pending: slot for slot in self._slots if slot.handle.pending is not None}
        ready, waiting = self._ray.wait(list(pending), num_returns=1, timeout=seconds)
        if ready and waiting:
            ready += self._ray.wait(waiting, num_returns=len(waiting), timeout=0)[0]
        return [outcome for reference in ready for outcome in self._receive(pending[reference])]

    def _receive(self, slot: Slot[_Handle]) -> list[Outcome]:
        try:
            result = self._ray.get(slot.handle.pending)
        except self._ray.exceptions.RayError as error:
            return self._died(slot, describe_error(error))
        slot.handle.pending = None
        if not slot.ready:
            self._prepared(slot, result)
            return []
        outcome, broken = result
        slot.free()
        if broken:
            self._replace(slot)
        return [outcome]


def _check_address(address: str) -> None:
    """Ray itself tries for minutes, and cannot be interrupted meanwhile."""
    host, colon, port = address.rpartition(":")
    if not colon or "://" in address:
        return
    try:
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise SearchError(f"no Ray cluster at {address}: {error}") from error


def _connect(ray: Any, address: str, *, cpus: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if not address:
        # Ray's workers import from where this process does.
        paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path)
        with environment({"PYTHONPATH": paths}):
            ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
        return
    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, ValueError) as error:
        raise SearchError(
            f"no Ray cluster at '{address}' ({describe_error(error)}): start one by `ray start --head`, "
            "or leave the address empty to use this machine"
        ) from error


def _warn_of_waiting(free: Mapping[str, float], wanted: Mapping[str, float]) -> None:
    short = [f"{amount:g} {name}s, {free.get(name, 0):g} are free" for name, amount in wanted.items()]
    if any(amount > free.get(name, 0) for name, amount in wanted.items()):
        get_logger(__name__).warning(f"some of Ray's workers will wait for others to end: wanted {'; '.join(short)}")
