"""Evaluations in processes of this machine."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.connection import wait as wait_for_any
from typing import Any

from tqdm import tqdm

from fastreid_ext.search.backends.devices import environment, worker_variables
from fastreid_ext.search.backends.pool import Slot, WorkerPool
from fastreid_ext.search.backends.worker import Worker, describe_error
from fastreid_ext.search.errors import SearchError
from fastreid_ext.search.protocols import EvaluatorFactory, Job, Outcome

__all__ = ["ProcessBackend"]

# What a worker says first: nothing is wrong with its evaluator.
_READY = ""


@dataclass
class _Process:
    process: Any
    connection: Connection


class ProcessBackend(WorkerPool[_Process]):
    """Workers that each are a process; one that dies, or takes too long, is replaced.

    Workers end with the process that made them, however that ends.

    Args:
        factory: makes the evaluator, once in each worker; must pickle.
        workers: how many.
        cpus_per_trial: threads of each; 0 leaves their number to the libraries.
        gpus_per_trial: GPUs that each sees; 0 lets all see all.
        time_limit: seconds after which an evaluation is ended and counts as failed; 0 waits for ever.

    Raises:
        SearchError: the factory does not pickle, or there are not enough GPUs.
    """

    def __init__(
        self,
        factory: EvaluatorFactory,
        *,
        workers: int = 1,
        cpus_per_trial: int = 0,
        gpus_per_trial: float = 0,
        time_limit: float = 0,
    ) -> None:
        super().__init__("process", workers=workers, time_limit=time_limit)
        try:
            self._factory = pickle.dumps(factory)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise SearchError(f"the evaluation cannot be sent to processes: {describe_error(error)}") from error
        self._threads = cpus_per_trial
        self._variables = [worker_variables(i, cpus=cpus_per_trial, gpus=gpus_per_trial) for i in range(workers)]
        # Python waits for its processes when it ends: they must have been told before.
        atexit.register(self.close)
        self._fill()

    def close(self) -> None:
        """Ends all workers, the busy ones at once."""
        atexit.unregister(self.close)
        slots, self._slots = self._slots, []
        for slot in slots:
            # At the end of the pipe an idle worker ends by itself.
            slot.handle.connection.close()
        for slot in slots:
            if slot.ready and slot.job is None:
                slot.handle.process.join(5)
            self._kill(slot.handle)

    def _start(self, index: int) -> _Process:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        args = (theirs, self._factory, self._name(index), self._threads)
        process = context.Process(target=_serve, args=args, name=f"search-worker-{index + 1}")
        with environment(self._variables[index]), _no_interrupts():
            process.start()
        theirs.close()
        return _Process(process, ours)

    def _send(self, handle: _Process, job: Job) -> None:
        # A worker that has just died is noticed when its pipe is read.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            handle.connection.send(job)

    def _kill(self, handle: _Process) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(handle.process.pid, signal.SIGKILL)
        handle.process.kill()
        handle.process.join()
        handle.connection.close()

    def _collect(self, seconds: float) -> list[Outcome]:
        wait_for_any([slot.handle.connection for slot in self._slots], seconds)
        return [outcome for slot in list(self._slots) for outcome in self._read(slot)]

    def _read(self, slot: Slot[_Process]) -> list[Outcome]:
        outcomes = []
        # The children of a dead worker may hold its pipe open. Looked at before the pipe, so that no last word is lost.
        dead = slot.handle.process.exitcode is not None
        try:
            while slot.handle.connection.poll():
                message = slot.handle.connection.recv()
                if isinstance(message, Outcome):
                    outcomes.append(message)
                    slot.free()
                else:
                    self._prepared(slot, message)
        except (EOFError, OSError):
            dead = True
        return outcomes + (self._died(slot, _how(slot.handle.process)) if dead else [])


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Processes started inside never hear of a Ctrl-C, which is for the driver; it hears of it behind the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _how(process: Any) -> str:
    process.join(1)
    code = process.exitcode
    return f"killed by signal {-code}" if code is not None and code < 0 else f"it ended with code {code}"


def _serve(connection: Connection, factory: bytes, name: str, threads: int) -> None:
    # A group of its own can be ended as a whole.
    os.setsid()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Its own lock is a semaphore of the system, which a killed worker leaves behind.
    tqdm.set_lock(threading.RLock())
    try:
        worker = Worker(pickle.loads(factory), name=name, threads=threads)
    except Exception as error:
        connection.send(describe_error(error))
        return
    connection.send(_READY)
    while not worker.broken:
        try:
            job = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        connection.send(worker(job))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_any([parent.sentinel])
    os.killpg(0, signal.SIGKILL)
