"""The next batches while the model works on this one."""

from __future__ import annotations

import contextlib
import queue
import threading
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from fastreid_ext.utils.threads import keep_torch_threads, run_single_threaded

__all__ = ["Prefetch"]

T = TypeVar("T")

_END = object()
_POLL_SECONDS = 0.2


class Prefetch(Generic[T]):
    """Runs an iterator in a thread, a few items ahead.

    On a GPU the thread works on a stream of its own. Whoever takes an item makes the current stream wait for it, and
    the memory of its tensors is not used again before that stream is done with them.

    An exception of the iterator is raised where its item would have come; a thread that is gone is an error, never a
    hang. `close`, or the end of the last reference, stops the thread.

    Args:
        make: returns the iterator; called in the thread.
        device: where the items' tensors are.
        depth: items that wait, at most.
    """

    def __init__(self, make: Callable[[], Iterator[T]], *, device: torch.device | str = "cpu", depth: int = 2) -> None:
        self.device = torch.device(device)
        self._items: queue.Queue[tuple[Any, Any]] = queue.Queue(depth)
        self._stop = threading.Event()
        started = threading.Event()
        self._thread = threading.Thread(
            target=_produce, args=(make, self._items, self._stop, self.device, started), name="prefetch", daemon=True
        )
        self._finalizer = weakref.finalize(self, _shut_down, self._thread, self._items, self._stop)
        with keep_torch_threads():
            self._thread.start()
            started.wait()

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
        """Stops the thread and waits for it."""
        self._finalizer()

    def _take(self) -> tuple[Any, Any]:
        while not self._stop.is_set():
            # Asked before the queue is: what a thread has put in before its end is there then.
            alive = self._thread.is_alive()
            try:
                return self._items.get(alive, _POLL_SECONDS)
            except queue.Empty:
                if not alive:
                    return _END, RuntimeError("the thread that prepares batches has ended without a word")
        return _END, None


def _produce(
    make: Callable[[], Iterator[Any]],
    items: queue.Queue[tuple[Any, Any]],
    stop: threading.Event,
    device: torch.device,
    started: threading.Event,
) -> None:
    # The cores are the model's, whose own threads are slowed down by a second team.
    run_single_threaded()
    started.set()
    iterator: Iterator[Any] = iter(())
    try:
        stream = _own_stream(device)
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


def _put(items: queue.Queue[tuple[Any, Any]], stop: threading.Event, item: tuple[Any, Any]) -> bool:
    while not stop.is_set():
        try:
            items.put(item, timeout=_POLL_SECONDS)
        except queue.Full:
            continue
        return not stop.is_set()
    return False


def _own_stream(device: torch.device) -> torch.cuda.Stream | None:
    if device.type != "cuda":
        return None
    # The current device is a setting of the thread.
    torch.cuda.set_device(device)
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _hand_over(item: Any, ready: torch.cuda.Event, device: torch.device) -> None:
    current = torch.cuda.current_stream(device)
    current.wait_event(ready)
    for value in item.values() if isinstance(item, Mapping) else [item]:
        if isinstance(value, Tensor) and value.is_cuda:
            value.record_stream(current)


def _shut_down(thread: threading.Thread, items: queue.Queue[tuple[Any, Any]], stop: threading.Event) -> None:
    stop.set()
    # Makes room for the item that the thread may be waiting to hand in.
    _empty(items)
    # A garbage collection in the thread itself may have brought us here.
    if thread is not threading.current_thread():
        thread.join()
    _empty(items)


def _empty(items: queue.Queue[tuple[Any, Any]]) -> None:
    with contextlib.suppress(queue.Empty):
        while True:
            items.get_nowait()
