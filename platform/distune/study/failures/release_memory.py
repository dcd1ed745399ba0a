"""Frees what a failed training holds."""

from __future__ import annotations

import gc
import sys


def forget_frames(error: BaseException | None) -> None:
    """Drop the frames of an error and its causes, which would keep the memory of a training alive."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def free_memory() -> None:
    """Free unused memory, also on the device if torch was loaded."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
