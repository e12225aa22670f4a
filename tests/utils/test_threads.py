"""Threads that compute alone, and the setting of everybody else."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch

from fastreid_ext.utils.threads import (
    default_threads,
    in_order,
    keep_torch_threads,
    local_processes,
    single_threaded_pool,
)


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_workers_compute_on_one_thread_and_nobody_else_does() -> None:
    meet = threading.Barrier(3)

    def look(_: int) -> tuple[int, int]:
        meet.wait()
        torch.ones(8).sum()
        return threading.get_ident(), torch.get_num_threads()

    with single_threaded_pool(3) as pool:
        seen = list(pool.map(look, range(3)))
    assert len({thread for thread, _ in seen}) == 3
    assert [threads for _, threads in seen] == [1, 1, 1]
    assert torch.get_num_threads() == 2
    with ThreadPoolExecutor(1) as later:
        assert later.submit(torch.get_num_threads).result() == 2


def test_setting_comes_back_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), keep_torch_threads():
        torch.set_num_threads(1)
        raise ZeroDivisionError
    assert torch.get_num_threads() == 2


def test_a_thread_that_cannot_start_is_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, []

    def second_fails(thread: threading.Thread) -> None:
        started.append(thread)
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", second_fails)
    with pytest.raises(RuntimeError, match="can't start"):
        single_threaded_pool(3)
    assert torch.get_num_threads() == 2


def pool_of(threads: int) -> AbstractContextManager[ThreadPoolExecutor | None]:
    return single_threaded_pool(threads) if threads > 1 else nullcontext()


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_the_order_of_the_items(threads: int) -> None:
    def late(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0.0)
        return number * number

    with pool_of(threads) as pool:
        assert list(in_order(late, iter(range(20)), pool=pool, ahead=4)) == [number * number for number in range(20)]
        assert list(in_order(late, iter([]), pool=pool)) == []


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("where", ["items", "function"])
def test_an_error_comes_in_its_place(threads: int, where: str) -> None:
    def items() -> Iterator[int]:
        for number in range(9):
            if where == "items" and number == 4:
                raise KeyError(number)
            yield number

    def fail(number: int) -> int:
        if where == "function" and number == 4:
            raise KeyError(number)
        return number

    seen: list[int] = []
    with pool_of(threads) as pool, pytest.raises(KeyError, match="4"):
        seen.extend(in_order(fail, items(), pool=pool, ahead=3))
    assert seen == [0, 1, 2, 3]


def test_items_are_taken_in_one_thread_a_few_ahead() -> None:
    takers: list[int] = []
    workers: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            takers.append(threading.get_ident())
            yield number

    def work(number: int) -> int:
        workers.append(threading.get_ident())
        return number

    with single_threaded_pool(2) as pool:
        results = in_order(work, items(), pool=pool, ahead=2)
        assert next(results) == 0
        assert len(takers) <= 4
        assert set(takers) == {threading.get_ident()}
        assert threading.get_ident() not in workers
        results.close()


def test_cores_are_shared_by_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert (local_processes(), default_threads()) == (1, 12)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "5")
    assert (local_processes(), default_threads()) == (5, 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "50")
    assert default_threads() == 1
