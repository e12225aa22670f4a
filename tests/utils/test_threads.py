"""Threads that compute alone, and the setting of everybody else."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fastreid_ext.utils.threads import default_threads, keep_torch_threads, local_processes, single_threaded_pool


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


def test_cores_are_shared_by_the_processes_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(12)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert (local_processes(), default_threads()) == (1, 12)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "5")
    assert (local_processes(), default_threads()) == (5, 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "50")
    assert default_threads() == 1
