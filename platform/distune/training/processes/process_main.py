"""The program of one of the processes that train a trial. ``process_run`` starts it."""

from __future__ import annotations

import contextlib
import datetime
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import torch
import torch.distributed as dist

from distune.collectives import largest
from distune.errors import TrialError
from distune.training.precision import visible_gpus
from distune.training.processes.messages import Command, Failure, Job, Opened
from distune.training.solo_run import SoloRun, open_trial

_TIMEOUT = datetime.timedelta(minutes=60)
"""Of a collective. The first process scores the evaluation of a large split while the others wait."""
_LOOPBACK = {"linux": "lo", "darwin": "lo0"}


def main() -> None:
    """Train a part of a trial's batches, epoch by epoch, as the process that has started this one asks for it."""
    connection: Connection[Any, Any] = Connection(int(sys.argv[1]))
    job: Job = connection.recv()
    commands = _commands_of(connection)
    try:
        with _process_group(job):
            run = open_trial(job.spec, stream_epochs=job.stream_epochs)
            _check_equal(run)
            connection.send(Opened(run.epochs_done, run.notes))
            while commands.get() == "epoch":
                connection.send(run.run_epoch())
            run.close()
    except Exception as error:
        connection.send(Failure.of(error, process=job.number + 1))
        # Not the end: the others would fail as well, for the loss of this process, and hide the reason.
        threading.Event().wait()


@contextlib.contextmanager
def _process_group(job: Job) -> Iterator[None]:
    """Join the other processes. All of them are on one machine, so that nothing listens on its network.

    After an error this process stays in the group. To leave it, NCCL would wait for work that the others never finish,
    and they would see a closed connection before the reason has been reported.
    """
    if sys.platform in _LOOPBACK:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK[sys.platform])
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if visible_gpus() else "gloo",
        init_method=f"file://{job.store}",
        rank=job.number,
        world_size=job.num_processes,
        timeout=_TIMEOUT,
    )
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    yield
    dist.destroy_process_group()


def _check_equal(run: SoloRun) -> None:
    most, negative_least = largest([run.epochs_done, -run.epochs_done])
    if most != -negative_least:
        raise TrialError("the processes of the trial have read different checkpoints")


def _commands_of(connection: Connection[Any, Any]) -> queue.SimpleQueue[Command]:
    """Return the commands of the trial. When its process ends, also by SIGKILL, this one is killed."""
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()

    def read() -> None:
        while True:
            try:
                commands.put(connection.recv())
            except (EOFError, OSError):
                os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=read, name="distune-commands", daemon=True).start()
    return commands


if __name__ == "__main__":
    main()
