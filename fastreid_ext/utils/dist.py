"""Talking to the other processes of a run; every function also works in a run of one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = [
    "all_gather_objects",
    "average_gradients",
    "barrier",
    "broadcast_buffers",
    "each_rank_its_rows",
    "gather",
    "gather_rows",
    "get_rank",
    "get_world_size",
    "is_main_process",
    "leave_group",
    "main_process_first",
]

T = TypeVar("T")


def _initialised() -> bool:
    return dist.is_available() and dist.is_initialized()


def get_rank() -> int:
    """Index of this process; 0 without distributed training."""
    return dist.get_rank() if _initialised() else 0


def get_world_size() -> int:
    """Number of processes; 1 without distributed training."""
    return dist.get_world_size() if _initialised() else 1


def is_main_process() -> bool:
    """Whether this process writes files and prints."""
    return get_rank() == 0


def leave_group() -> None:
    """Ends this process's part in the exchange with the others; call it when nothing is under way."""
    # Gloo's threads let go of the last tensors with Python's global lock, and the end of the group waits for these
    # threads while holding it: PyTorch 2.6 hangs for ever now and then if they have no moment to do so.
    time.sleep(0.1)
    dist.destroy_process_group()


def barrier() -> None:
    """Waits until every process is here."""
    if get_world_size() > 1:
        dist.barrier()


@contextmanager
def main_process_first() -> Iterator[None]:
    """The block runs on rank 0 before the other ranks, who find what it wrote; an error there does not hang them."""
    if not is_main_process():
        barrier()
    try:
        yield
    finally:
        if is_main_process():
            barrier()


def all_gather_objects(value: T) -> list[T]:
    """Small picklable `value` of every process, in the order of ranks. Tensors of size go through `gather`."""
    if get_world_size() == 1:
        return [value]
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value)
    return values


class _Gather(torch.autograd.Function):
    """Concatenation over ranks; the gradients that all ranks hold for a rank's rows are summed there."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = tensor.shape[0]
        tensor = tensor.contiguous()
        parts = [torch.empty_like(tensor) for _ in range(get_world_size())]
        dist.all_gather(parts, tensor)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]  # torch types it as *Any
        # A copy: autograd may hand the same gradient to others.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        start = get_rank() * ctx.rows
        return gradient[start : start + ctx.rows]


def gather(tensor: Tensor) -> Tensor:
    """Rows of all ranks, rank by rank, with a gradient.

    With DistributedDataParallel, which averages gradients over ranks, a loss that every rank computes on the gathered
    rows gives the gradient of one process that holds the whole batch.

    Shape:
        tensor: (B, ...), B equal on all ranks.
        returns: (B * world size, ...).
    """
    if get_world_size() == 1:
        return tensor
    gathered: Tensor = _Gather.apply(tensor)  # type: ignore[no-untyped-call]  # torch leaves apply untyped
    return gathered


def gather_rows(tensor: Tensor) -> Tensor:
    """Rows of all ranks, rank by rank, without a gradient, on the CPU. Ranks may hold different numbers of rows.

    Shape:
        tensor: (B, ...), alike on all ranks but for B; (0, ...) with any further sizes where a rank has none.
        returns: (sum of B, ...).
    """
    if get_world_size() == 1:
        return tensor.cpu()
    shapes = all_gather_objects(tuple(tensor.shape))
    longest = max(shapes, key=lambda shape: shape[0])
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
    padded = torch.zeros(longest, dtype=tensor.dtype, device=device)
    if len(tensor):
        padded[: len(tensor)] = tensor
    parts = [torch.empty_like(padded) for _ in shapes]
    dist.all_gather(parts, padded)
    return torch.cat([part[: shape[0]].cpu() for part, shape in zip(parts, shapes, strict=True)])


def each_rank_its_rows(compute: Callable[[slice], tuple[Tensor, ...]], number: int) -> tuple[Tensor, ...]:
    """Tensors of `number` rows, of which every rank computes a part.

    An error on one rank is raised there, and on the others as what it says: nobody waits for a rank that has failed.

    Raises:
        ValueError: `compute` raised it on another rank.
        RuntimeError: `compute` raised something else on another rank.
    """
    rank, ranks = get_rank(), get_world_size()
    start, stop = number * rank // ranks, number * (rank + 1) // ranks
    own: tuple[Tensor, ...] = ()
    raised: Exception | None = None
    try:
        # A rank without rows tells the others nothing, but in tensors of the same kind.
        own = compute(slice(start, stop)) if stop > start else tuple(rows[:0] for rows in compute(slice(0, 1)))
    except Exception as error:
        raised = error
    texts = all_gather_objects(None if raised is None else (isinstance(raised, ValueError), repr(raised), str(raised)))
    if raised is not None:
        raise raised
    for other, text in enumerate(texts):
        if text is not None:
            bad_value, full, short = text
            raise ValueError(short) if bad_value else RuntimeError(f"rank {other}: {full}")
    return tuple(gather_rows(tensor) for tensor in own)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Averages the gradients of parameters that DistributedDataParallel does not see; all ranks have the same ones."""
    if get_world_size() > 1:
        for parameter in parameters:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= get_world_size()


def broadcast_buffers(module: torch.nn.Module) -> None:
    """Gives every rank the buffers of rank 0, so that all evaluate with the same batch-norm statistics."""
    if get_world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)
