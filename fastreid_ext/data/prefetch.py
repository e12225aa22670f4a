"""The next batches while the model works on this one."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from fastreid_ext.utils.device import with_index
from fastreid_ext.utils.threads import keep_torch_threads, run_single_threaded

__all__ = ["Prefetch"]

T = TypeVar("T")

_END = object()
_POLL_SECONDS = 0.2
_CLOSE_SECONDS = 60.0


class Prefetch(Generic[T]):
    """Runs an iterator in a thread, a few items ahead.

    On a GPU the thread works on a stream of its own. Whoever takes an item makes the current stream wait for it, and
    the memory of its tensors is not used again before that stream is done with them.

    An exception of the iterator is raised where its item would have come; a thread that is gone is an error, never a
    hang. `close`, the end of the last reference, or the end of the program stops the thread.

    Args:
        make: returns the iterator; called in the thread.
        device: where the items' tensors are.
        depth: items that wait, at most.
    """

    def __init__(self, make: Callable[[], Iterator[T]], *, device: torch.device | str = "cpu", depth: int = 2) -> None:
        self.device = with_index(device)
        self._items: queue.Queue[tuple[Any, Any]] = queue.Queue(depth)
        self._stop, started = _Stop(), threading.Event()
        self._owner = (os.getpid(), threading.get_ident())
        self._thread = threading.Thread(
            target=_produce, args=(make, self._items, self._stop, self.device, started), name="prefetch", daemon=True
        )
        weakref.finalize(self, self._stop.please).atexit = False
        with keep_torch_threads():
            self._thread.start()
            started.wait()
        _alive.add(self)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        item, ready = self._take()
        if item is _END:
            self.close()
            if ready is not None:
                raise ready
            raise StopIteration
        if ready is not None:
            _hand_over(item, ready, self.device)
        result: T = item
        return result

    def close(self) -> None:
        """Stops the thread and, where that can be done safely, waits for it."""
        self._stop.please()
        # A garbage collection may have brought us here in any thread, with any lock held, or a fork in a process that
        # has no such thread: then the thread finds the flag by itself.
        if (os.getpid(), threading.get_ident()) != self._owner:
            return
        # Makes room for the item that the thread may be waiting to hand in.
        _empty(self._items)
        self._thread.join(_CLOSE_SECONDS)
        _empty(self._items)

    def _take(self) -> tuple[Any, Any]:
        while not self._stop.asked:
            # Asked before the queue is: what a thread has put in before its end is there then.
            alive = self._thread.is_alive()
            try:
                return self._items.get(alive, _POLL_SECONDS)
            except queue.Empty:
                if not alive:
                    return _END, RuntimeError("the thread that prepares batches has ended without a word")
        return _END, None


class _Stop:
    """A flag without a lock, which any thread may set at any moment."""

    def __init__(self) -> None:
        self.asked = False

    def please(self) -> None:
        self.asked = True


_alive: weakref.WeakSet[Prefetch[Any]] = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Threads that compute while the interpreter is taken apart crash it."""
    for prefetch in list(_alive):
        prefetch.close()


def _produce(
    make: Callable[[], Iterator[Any]],
    items: queue.Queue[tuple[Any, Any]],
    stop: _Stop,
    device: torch.device,
    started: threading.Event,
) -> None:
    iterator: Iterator[Any] = iter(())
    try:
        try:
            # The cores are the model's, whose own threads are slowed down by a second team.
            run_single_threaded()
        finally:
            started.set()
        stream = _side_stream(device)
        with torch.cuda.stream(stream):
            iterator = make()
            for item in iterator:
                if not _put(items, stop, (item, stream.record_event() if stream is not None else None)):
                    return
        _put(items, stop, (_END, None))
    except BaseException as error:  # it is raised in the thread that takes the items
        _put(items, stop, (_END, error))
    finally:
        if isinstance(iterator, Generator):
            iterator.close()


def _put(items: queue.Queue[tuple[Any, Any]], stop: _Stop, item: tuple[Any, Any]) -> bool:
    while not stop.asked:
        try:
            items.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return not stop.asked
    return False


def _side_stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    # The current device is a setting of the thread.
    torch.cuda.set_device(device)
    return _stream_of(device)


@functools.cache
def _stream_of(device: torch.device) -> torch.cuda.Stream:
    """One for all loaders: memory that was used on one stream serves no other."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _hand_over(item: Any, ready: torch.cuda.Event, device: torch.device) -> None:
    current = torch.cuda.current_stream(device)
    current.wait_event(ready)
    for value in item.values() if isinstance(item, Mapping) else [item]:
        if isinstance(value, Tensor) and value.is_cuda:
            value.record_stream(current)


def _empty(items: queue.Queue[tuple[Any, Any]]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            items.get_nowait()
