"""Device and precision of training."""

from __future__ import annotations

import torch

from distune.config.search import GpusPerTrial, gpus_of_trial
from distune.errors import ResourceError


def visible_gpus() -> int:
    """Return the number of GPUs that torch can use in this process."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def pick_device(gpus_per_trial: GpusPerTrial) -> torch.device:
    """Return the device of a trial.

    Args:
        gpus_per_trial: fraction or number of GPUs, or ``auto``.

    Returns:
        The GPU if the trial gets any part of one, else the CPU.

    Raises:
        ResourceError: the trial needs a GPU and this process sees none.
    """
    found = visible_gpus()
    gpus = gpus_of_trial(gpus_per_trial, found=found)
    if gpus <= 0:
        return torch.device("cpu")
    if not found:
        raise ResourceError(
            f"resources.gpus_per_trial = {gpus:g}: torch sees no GPU here; set it to auto or 0 to train on the CPU, "
            "and run `distune doctor` to see what torch sees"
        )
    return torch.device("cuda")


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Return the precision of forward passes under autocast; None for float32.

    ``auto`` is bfloat16 on GPUs that support it and float32 elsewhere.
    """
    if precision == "auto":
        has_bfloat16 = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if has_bfloat16 else None
    return {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}[precision]


def autocast(device: torch.device, dtype: torch.dtype | None) -> torch.autocast:
    """Return the autocast context of a forward pass; disabled if ``dtype`` is None."""
    return torch.autocast(device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None)
