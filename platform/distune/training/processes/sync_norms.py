"""Batch normalization over the images of all processes of a trial."""

from __future__ import annotations

import torch
from torch import nn

from distune.collectives import num_processes
from distune.errors import UsageError


def synchronize_norms(model: nn.Module, device: torch.device) -> None:
    """Let batch normalization use the statistics of the whole batch, of which each process has a part.

    Frozen and group normalization stay as they are. The names and values of the state dict do not change.

    Args:
        model: changed in place.
        device: of the training.

    Raises:
        UsageError: the model has batch normalization, and the processes train on CPUs, for which torch has none.
    """
    if num_processes() == 1 or not any(isinstance(each, nn.modules.batchnorm._BatchNorm) for each in model.modules()):
        return
    if device.type != "cuda":
        raise UsageError(
            "the student has batch normalization, which torch synchronizes between processes on GPUs only; use group "
            "or frozen normalization to train on CPUs in several processes"
        )
    if any(type(each).__module__.partition(".")[0] == "timm" for each in model.modules()):
        from timm.layers.norm_act import convert_sync_batchnorm  # torch's would drop the activations of timm's layers

        convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return
    nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
