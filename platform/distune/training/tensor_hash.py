"""The hash of a set of weights, independent of the file that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def tensors_hash(state: Mapping[str, Tensor], *, length: int = 32) -> str:
    """Hash names, types, shapes and values of tensors: the first ``length`` hexadecimal digits of a SHA-256.

    Copies every tensor to the host, so do not call it in a training step.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:length]
