"""Sums over all training processes that losses need; everything here also works with one process and no group."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch import distributed as dist

_share: ContextVar[float] = ContextVar("share", default=1.0)


@contextmanager
def row_share(share: float) -> Iterator[None]:
    """Tell :func:`world_mean` the factor that the training loop will put on this process's loss.

    The loop weights the loss of each process by its rows over the mean rows per process, so that plain means over rows
    are right when a last batch does not divide evenly. Sums over the world's count need no such factor.
    """
    token = _share.set(share)
    try:
        yield
    finally:
        _share.reset(token)


def is_distributed() -> bool:
    """True inside a process group of more than one process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def world_size() -> int:
    return dist.get_world_size() if is_distributed() else 1


def world_mean(total: Tensor, count: Tensor | float) -> Tensor:
    """``total`` divided by the mean over the processes of ``count``, which is taken as at least 1 over all of them.

    DDP averages gradients over the processes. A loss that is a sum over a varying number of things (instances,
    positive cells) divided by that number must divide by the number of all processes, or two processes would learn
    something else than one with the whole batch. With ``count`` summed over P processes to C the result is
    ``total * P / max(C, 1)``; averaged over the processes it is ``sum(totals) / max(C, 1)``.

    (Inside :func:`row_share` the factor of the training loop is taken off, which comes to the same.)

    Every process must call this equally often. The gradient flows through ``total`` only. ``total`` and ``count``
    may have any broadcastable shapes.
    """
    counts = torch.as_tensor(count, dtype=torch.float32, device=total.device).detach().clone()
    if is_distributed():
        dist.all_reduce(counts)
    return total * (world_size() / _share.get()) / counts.clamp(min=1).to(total.dtype)


def all_gather_rows(rows: Tensor) -> Tensor:
    """The rows ``[n, ...]`` of all processes concatenated in the order of their ranks; equal in every process.

    The number of rows may differ between processes, and may be 0. No gradient flows.
    """
    rows = rows.detach()
    if not is_distributed():
        return rows
    size = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.zeros_like(size) for _ in range(dist.get_world_size())]
    dist.all_gather(sizes, size)
    lengths = [int(one) for one in sizes]
    longest = max(lengths)
    if longest == 0:
        return rows
    padded = rows.new_zeros((longest, *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(parts, padded)
    return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])


def any_process(flag: bool, device: torch.device | str = "cpu") -> bool:
    """Whether the flag is set in any process; all of them get the same answer."""
    if not is_distributed():
        return flag
    value = torch.tensor([float(flag)], device=device)
    dist.all_reduce(value, op=dist.ReduceOp.MAX)
    return bool(value.item())


def sum_over_processes(values: Tensor) -> Tensor:
    """The element-wise sum of ``values`` over the processes; no gradient flows."""
    values = values.detach().clone()
    if is_distributed():
        dist.all_reduce(values)
    return values
