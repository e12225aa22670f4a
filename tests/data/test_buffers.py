"""Memory that is used again, but never while somebody holds it."""

from __future__ import annotations

import gc
import threading

import pytest
import torch

from fastreid_ext.data.buffers import BufferPool

SHAPE = (4, 3, 8, 6)


def test_memory_comes_back_when_the_last_tensor_is_gone() -> None:
    pool = BufferPool(torch.float32)
    first = pool.take(SHAPE)
    place = first.data_ptr()
    view = first[1:2, :, 2:4].flip(-1) * 0 + first.flatten()[5]
    part = first[2]
    del first, view
    assert pool.take(SHAPE).data_ptr() != place
    del part
    gc.collect()
    pool = BufferPool(torch.float32)
    place = pool.take(SHAPE).data_ptr()
    assert pool.take(SHAPE).data_ptr() == place


def test_a_graph_keeps_its_memory() -> None:
    pool = BufferPool(torch.float32)
    batch = pool.take(SHAPE).fill_(3.0)
    weight = torch.ones(SHAPE, requires_grad=True)
    loss = (batch * weight).sum()
    del batch
    for _ in range(3):
        pool.take(SHAPE).fill_(7.0)
    loss.backward()
    assert weight.grad is not None
    assert torch.equal(weight.grad, torch.full(SHAPE, 3.0))


def test_no_more_memory_than_batches_held() -> None:
    pool = BufferPool(torch.uint8)
    places = {pool.take(SHAPE).data_ptr() for _ in range(100)}
    assert len(places) == 1
    held = [pool.take(SHAPE) for _ in range(20)]
    assert len({batch.data_ptr() for batch in held}) == 20
    del held
    assert len(pool._free) <= 8


def test_smaller_and_larger_batches() -> None:
    pool = BufferPool(torch.float32)
    place = pool.take(SHAPE).data_ptr()
    small = pool.take((2, *SHAPE[1:]))
    assert (small.shape, small.data_ptr()) == ((2, 3, 8, 6), place)
    del small
    assert pool.take((9, *SHAPE[1:])).shape == (9, 3, 8, 6)
    assert pool.take((0, *SHAPE[1:])).shape == (0, 3, 8, 6)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_memory_formats(dtype: torch.dtype) -> None:
    plain = BufferPool(dtype).take(SHAPE)
    assert plain.is_contiguous()
    assert plain.dtype == dtype
    last = BufferPool(dtype, torch.channels_last).take(SHAPE)
    assert last.shape == SHAPE
    assert last.is_contiguous(memory_format=torch.channels_last)


def test_threads_never_share_a_buffer() -> None:
    pool = BufferPool(torch.float32)
    broken = []

    def work(value: float) -> None:
        for _ in range(300):
            batch = pool.take(SHAPE).fill_(value)
            other = pool.take(SHAPE).fill_(-value)
            if not (batch == value).all() or not (other == -value).all():
                broken.append(value)

    threads = [threading.Thread(target=work, args=(float(value),)) for value in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not broken
