"""One way to make a torch ``DataLoader``: no global random state, and worker processes that are safe to start late."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

_PRELOADED = "distune.data.stream"


def make_loader(
    samples: Dataset[Any],
    batches: Iterable[list[Any]],
    *,
    collate: Callable[[list[Any]], Any],
    num_workers: int,
    keep_workers: bool = False,
    pin_memory: bool = False,
) -> DataLoader[Any]:
    """A loader over given batches of keys.

    Args:
        samples: what makes a sample of a key. Sent to workers by pickle.
        batches: the keys of each batch; iterated anew for every pass.
        collate: makes a batch of samples.
        num_workers: processes; 0 loads in this one.
        keep_workers: whether workers outlive a pass. They end when the loader is no longer referred to.
        pin_memory: put batches into page-locked memory, for copies to a GPU that do not wait.
    """
    return DataLoader(
        samples,
        batch_sampler=batches,  # any iterable of lists will do
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=keep_workers and num_workers > 0,
        pin_memory=pin_memory,
        multiprocessing_context=_context() if num_workers > 0 else None,
        generator=torch.Generator(),  # or the loader would draw from the global one
    )


def _context() -> Any:
    """A forkserver where there is one: plain forking of a process with threads, a GPU or Ray in it can hang."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])  # torch is imported once, not once per worker
    return context
