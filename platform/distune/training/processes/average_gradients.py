"""The mean of gradients over the processes of a trial."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from distune.collectives import num_processes, sum_over_processes

_BYTES_AT_A_TIME = 64 * 2**20


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace the gradient of each parameter by its mean over processes, in which a missing one counts as 0.

    A parameter without gradient in all processes keeps none, so that the optimizer skips it as in one process.

    Args:
        parameters: the same in all processes, in the same order.
    """
    if num_processes() == 1 or not parameters:
        return
    device = parameters[0].device
    has_gradient = torch.tensor([each.grad is not None for each in parameters], dtype=torch.float32)
    anywhere = (sum_over_processes(has_gradient) > 0).tolist()
    for some in _chunks([each for each, is_there in zip(parameters, anywhere, strict=True) if is_there]):
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in some]
        total = sum_over_processes(torch.cat([each.flatten() for each in gradients]).to(device))
        means = torch.split(total / num_processes(), [each.numel() for each in gradients])
        for parameter, gradient, mean in zip(some, gradients, means, strict=True):
            parameter.grad = gradient.copy_(mean.view(gradient.shape))


def _chunks(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Yield neighbors of one type of number, whose gradients are sent together."""
    for _, of_type in itertools.groupby(parameters, key=lambda each: each.dtype):
        chunk: list[nn.Parameter] = []
        for parameter in of_type:
            chunk.append(parameter)
            if sum(map(_num_bytes, chunk)) >= _BYTES_AT_A_TIME:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
