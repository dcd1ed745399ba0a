"""What tells one set of weights from another, wherever it lies and however often it was saved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def tensors_hash(state: Mapping[str, Tensor], *, length: int = 32) -> str:
    """The first ``length`` hexadecimal digits of the SHA-256 of names, types, shapes and values of tensors.

    Copies every tensor to the host: not for use in a training step.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:length]
