"""The thread that prepares batches: order, errors, ends."""

from __future__ import annotations

import gc
import itertools
import os
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator

import pytest
import torch

from fastreid_ext.data import prefetch
from fastreid_ext.data.prefetch import Prefetch
from fastreid_ext.utils.threads import in_order, single_threaded_pool

_before: set[threading.Thread] = set()


@pytest.fixture(autouse=True)
def _of_other_tests() -> None:
    """A training that failed in another test may not have been collected yet."""
    _before.update(threading.enumerate())


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch" and thread not in _before]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_items_come_in_order_and_end() -> None:
    items = Prefetch(lambda: iter(range(50)))
    assert list(items) == list(range(50))
    assert not prefetch_threads()
    assert list(items) == []


def test_runs_ahead_but_not_far() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in itertools.count():
            made.append(number)
            yield number

    items = Prefetch(make, depth=2)
    assert next(items) == 0
    # One is taken, two wait, one is in the hands of the thread.
    wait_until(lambda: len(made) == 4)
    time.sleep(0.1)
    assert len(made) == 4
    items.close()
    assert not prefetch_threads()


def test_an_error_comes_in_its_place() -> None:
    def make() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("picture.jpg")

    items = Prefetch(make)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match=r"picture\.jpg"):
        next(items)
    assert not prefetch_threads()
    with pytest.raises(StopIteration):
        next(items)


def test_an_error_before_the_first_item() -> None:
    def make() -> Iterator[int]:
        raise ValueError("no images")

    with pytest.raises(ValueError, match="no images"):
        next(Prefetch(make))


def test_a_thread_that_vanishes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetch, "_produce", lambda *arguments: arguments[-1].set())
    with pytest.raises(RuntimeError, match="has ended without a word"):
        next(Prefetch(lambda: iter(range(3))))


def test_forgetting_it_stops_the_thread_and_closes_the_iterator() -> None:
    closed = threading.Event()

    def make() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    items = Prefetch(make)
    next(items)
    assert prefetch_threads()
    del items
    gc.collect()
    wait_until(lambda: not prefetch_threads())
    assert closed.is_set()


def test_closed_twice_and_read_after() -> None:
    items = Prefetch(lambda: itertools.count())
    next(items)
    items.close()
    items.close()
    assert list(items) == []


def test_two_side_by_side() -> None:
    first, second = Prefetch(lambda: itertools.count()), Prefetch(lambda: itertools.count(100))
    assert list(itertools.islice(zip(first, second, strict=True), 3)) == [(0, 100), (1, 101), (2, 102)]
    first.close()
    second.close()


def test_computes_beside_the_model_on_one_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        items = Prefetch(lambda: iter([torch.get_num_threads()]))
        assert list(Prefetch(_counts)) == [1]
        assert list(items) != []
        assert torch.get_num_threads() == 2
        seen: list[int] = []

        def look() -> None:
            torch.ones(8).sum()
            seen.append(torch.get_num_threads())

        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        assert seen == [2]
    finally:
        torch.set_num_threads(before)


def _counts() -> Iterator[int]:
    torch.ones(8).sum()
    yield torch.get_num_threads()


def test_forgotten_in_a_thread_with_the_queue_locked_it_does_not_hang() -> None:
    """A garbage collection may happen anywhere, in the thread itself and while it hands an item in."""
    items = Prefetch(lambda: itertools.count())
    next(items)
    thread, queue = items._thread, items._items
    gone = weakref.ref(items)
    holder = [items]
    del items

    def collect() -> None:
        with queue.mutex:
            holder.pop().close()

    other = threading.Thread(target=collect, daemon=True)
    other.start()
    other.join(20)
    assert not other.is_alive()
    wait_until(lambda: not thread.is_alive())
    assert gone() is None


def test_threads_that_start_later_keep_the_models_number() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with single_threaded_pool(2) as pool:
            list(Prefetch(lambda: in_order(lambda number: number, iter(range(5)), pool=pool, ahead=2)))
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert seen == [2]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_ends() -> None:
    program = (
        "import itertools, os, sys, time\n"
        "from fastreid_ext.data.prefetch import Prefetch\n"
        "items = Prefetch(lambda: itertools.count())\n"
        "next(items)\n"
        "for _ in range(10):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        sys.exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], timeout=120, check=False)
    assert done.returncode == 0


def test_a_program_that_just_ends_does_not_hang() -> None:
    program = (
        "import itertools, torch\n"
        "from fastreid_ext.data.prefetch import Prefetch\n"
        "items = Prefetch(lambda: (torch.ones(100, 100) for _ in itertools.count()))\n"
        "print(next(items).sum().item())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "10000.0", "")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_gets_whole_batches() -> None:
    def make() -> Iterator[dict[str, torch.Tensor]]:
        for number in range(40):
            value = torch.full((4096, 4096), float(number), device="cuda")
            for _ in range(5):
                value = value * 1.0
            yield {"images": value}

    means = [batch["images"].mean() for batch in Prefetch(make, device=torch.device("cuda", 0))]
    assert [mean.item() for mean in means] == [float(number) for number in range(40)]
