"""Makes torch ``DataLoader``s without global random state, and with worker processes that are safe to start late."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from distune.errors import ResourceError

_MAX_FOLDER_BYTES = 107 - 32
"""The path of a socket has at most 107 bytes, of which Python takes 32 below the temporary folder."""
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
    """Make a loader over given batches of keys.

    Args:
        samples: returns the sample of a key. Sent to workers by pickle.
        batches: the keys of each batch; iterated again for every pass.
        collate: makes a batch of samples.
        num_workers: processes; 0 loads in this one.
        keep_workers: keep workers between passes. They end when the loader is no longer referenced.
        pin_memory: put batches into page-locked memory, for asynchronous copies to a GPU.

    Returns:
        The loader.

    Raises:
        ResourceError: there are processes, and the path of the temporary folder is too long for their sockets.
    """
    return DataLoader(
        samples,
        batch_sampler=batches,  # any iterable of lists
        collate_fn=collate,
        num_workers=num_workers,
        persistent_workers=keep_workers and num_workers > 0,
        pin_memory=pin_memory,
        multiprocessing_context=_context() if num_workers > 0 else None,
        worker_init_fn=_end_with_parent if num_workers > 0 else None,
        generator=torch.Generator(),  # otherwise the loader uses the global one
    )


def check_temporary_folder(folder: str) -> None:
    """Raise ``ResourceError`` when the sockets between loader processes cannot be below a folder: they would hang."""
    if len(os.fsencode(folder)) > _MAX_FOLDER_BYTES:
        raise ResourceError(
            f"TMPDIR = {folder}: too long for the sockets of processes that load images; set it to a folder whose path "
            f"has at most {_MAX_FOLDER_BYTES} bytes, such as /tmp, or set resources.loader_workers = 0"
        )


def _end_with_parent(_worker: int) -> None:
    """Let this worker end when the process that uses it has ended, also by SIGKILL.

    torch's own check compares the parent's process id. With a forkserver the parent is that server, which lives as long
    as its workers.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="distune-parent", daemon=True).start()


def _context() -> Any:
    """Return a forkserver where there is one: forking a process with threads, CUDA or Ray can hang."""
    check_temporary_folder(tempfile.gettempdir())
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_PRELOADED])  # import torch once, not once per worker
    return context
