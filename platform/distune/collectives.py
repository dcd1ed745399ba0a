"""Sums, means and gathers over the processes that train one student together, each on its part of every batch.

In one process, every function returns what it was given, so that the code of a loss is the same for both. The mean of
the processes' losses is the loss of the whole batch if each process divides its sum by ``batch_count`` instead of its
own count. All processes must call these functions in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def num_processes() -> int:
    """Return the number of processes that train the student; 1 outside of such a group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if num_processes() > 1 else 0


def sum_over_processes(values: Tensor) -> Tensor:
    """Return the sum over processes, without gradient."""
    if num_processes() == 1:
        return values
    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def mean_over_processes(values: Tensor) -> Tensor:
    """Return the mean over processes, without gradient."""
    return values if num_processes() == 1 else sum_over_processes(values) / num_processes()


def sum_with_gradient(values: Tensor) -> Tensor:
    """Return the sum over processes, through which gradient flows to the values of all of them."""
    if num_processes() == 1:
        return values
    total: Tensor = _Sum.apply(values)
    return total


def batch_count(count: Tensor, *, at_least: float = 0.0) -> Tensor:
    """Return the divisor of this process's sum, such that the mean over processes is that of the whole batch.

    Args:
        count: of this process's part of the batch, of any shape; a number of values or a sum of weights.
        at_least: the smallest count of the whole batch.

    Returns:
        The count of the whole batch, divided by the number of processes.
    """
    if num_processes() == 1:
        return count.clamp(min=at_least) if at_least else count
    return sum_over_processes(count.float()).clamp(min=at_least) / num_processes()


def batch_number(number: int, like: Tensor) -> Tensor | int:
    """Return ``batch_count`` of a number that is known on the host, at least 1; on the device of ``like``."""
    if num_processes() == 1:
        return max(1, number)
    return batch_count(torch.full((), float(number), device=like.device), at_least=1)


def part_factor(number: Tensor | int, like: Tensor) -> Tensor | float:
    """Return the factor on a mean over this process's part, such that the mean over processes is of the whole batch.

    Args:
        number: by which this process has divided; 0 stands for 1.
        like: a tensor on the device of the result.

    Returns:
        1.0 in one process; otherwise a scalar, 1 for equal parts.
    """
    if num_processes() == 1:
        return 1.0
    own = number if isinstance(number, Tensor) else torch.full((), float(number), device=like.device)
    count = own.float()
    return count.clamp(min=1) / batch_count(count, at_least=1)


def gather_rows(values: Tensor, dim: int = 0) -> Tensor:
    """Concatenate tensors of all processes in their order, without gradient.

    Args:
        values: may have another length along ``dim`` in each process.
        dim: the dimension of the rows.

    Returns:
        The rows of the whole batch.
    """
    if num_processes() == 1:
        return values
    rows = values.detach().movedim(dim, 0)
    counts = row_counts(rows.shape[0])
    padded = rows.new_zeros(max(counts), *rows.shape[1:])
    padded[: rows.shape[0]] = rows
    received = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(received, padded)
    return torch.cat([each[:count] for each, count in zip(received, counts, strict=True)]).movedim(0, dim).contiguous()


def gather_rows_with_own(values: Tensor, dim: int = 0) -> Tensor:
    """Concatenate as ``gather_rows``, with gradient to the rows of this process.

    A loss of the whole batch that every process computes of the result belongs into ``own_part``.
    """
    if num_processes() == 1:
        return values
    gathered = gather_rows(values, dim)
    counts = row_counts(values.shape[dim])
    first = sum(counts[: rank()])
    own = torch.arange(first, first + values.shape[dim], device=values.device)
    return gathered.index_copy(dim, own, values)


def own_part(loss: Tensor) -> Tensor:
    """Return a loss of the whole batch with such a gradient that the mean over processes has the full one.

    Args:
        loss: equal in all processes, with gradient to this process's part alone.

    Returns:
        The same value.
    """
    return loss if num_processes() == 1 else loss + (num_processes() - 1) * (loss - loss.detach())


def row_counts(count: int) -> list[int]:
    """Return the number that each process gives, on the host: waits for the other processes, and for no device."""
    if num_processes() == 1:
        return [count]
    received = [torch.zeros(1, dtype=torch.int64) for _ in range(num_processes())]
    dist.all_gather(received, torch.tensor([count]))
    return [int(each) for each in received]


def largest(values: Sequence[int]) -> tuple[int, ...]:
    """Return the largest of each value over processes, on the host."""
    if num_processes() == 1:
        return tuple(values)
    found = torch.tensor(list(values), dtype=torch.int64)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return tuple(int(each) for each in found)


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Overwrite tensors by those of the first process."""
    if num_processes() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)


def gather_objects(value: Any) -> list[Any]:
    """Return the picklable values of all processes in the first one, and this process's alone in the others."""
    if num_processes() == 1:
        return [value]
    received: list[Any] | None = [None] * num_processes() if rank() == 0 else None
    dist.gather_object(value, received)
    return [value] if received is None else received


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return sum_over_processes(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return sum_over_processes(gradients[0].contiguous())
