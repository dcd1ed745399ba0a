"""A trial in several processes, as its runner sees it. This process trains nothing: it starts, asks, and watches them.

So no failure can hang it: a process that has failed or died is noticed at once, and the others, which wait for it in
their collectives, are killed. They end with this process as well: each reads a connection that closes then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from typing import Any

from distune.errors import WorkerLostError
from distune.records import EpochReport, TrialSpec
from distune.training.processes.messages import Command, Failure, Job, Opened

_MAIN = "distune.training.processes.process_main"
_CLOSE_TIMEOUT_S = 20.0
_DEATH_GRACE_S = 0.5
"""Seconds in which the death of a process may be noticed after the error that it causes in another one."""


class ProcessRun:
    """One trial that several processes train, each on a GPU and on its part of every batch. It is a ``TrialRun``.

    Args:
        spec: of the trial. If its folder holds a checkpoint, training resumes after that epoch.
        num_processes: processes, at least 2.
        stream_epochs: see ``SoloRun``.

    Raises:
        DistuneError: data, weights or checkpoint are missing or do not fit.
        WorkerLostError: a process has died.
    """

    def __init__(self, spec: TrialSpec, *, num_processes: int, stream_epochs: Sequence[int] = ()) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="distune-processes-")
        store = str(Path(self._folder.name) / "store")
        self._members: list[_Member] = []
        try:
            for number in range(num_processes):
                job = Job(
                    spec=spec,
                    stream_epochs=tuple(stream_epochs),
                    number=number,
                    num_processes=num_processes,
                    store=store,
                )
                self._members.append(_Member(job))
            opened: Opened = self._answers()[0]
        except BaseException:
            self._kill()
            raise
        self._epochs_done, self.notes = opened.epochs_done, opened.notes

    @property
    def epochs_done(self) -> int:
        """Number of epochs trained so far."""
        return self._epochs_done

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Ids of the processes; the first one writes the trial's files."""
        return tuple(member.process.pid for member in self._members)

    def run_epoch(self) -> EpochReport:
        """Train and evaluate one epoch in all processes. Any error ends all of them."""
        try:
            for member in self._members:
                member.send("epoch")
            report: EpochReport = self._answers()[0]
        except BaseException:
            self._kill()
            raise
        self._epochs_done = report.epoch
        return report

    def close(self) -> None:
        """Let the processes end."""
        for member in self._members:
            member.send("close")
        give_up_at = time.monotonic() + _CLOSE_TIMEOUT_S
        for member in self._members:
            with contextlib.suppress(subprocess.TimeoutExpired):
                member.process.wait(max(0.0, give_up_at - time.monotonic()))
        self._kill()

    def _answers(self) -> list[Any]:
        """Wait for an answer of each process. Raise the error of the first one that has failed."""
        answers: dict[int, Any] = {}
        while len(answers) < len(self._members):
            waiting = {member.connection: member for member in self._members if member.number not in answers}
            for ready in wait(list(waiting)):
                member = waiting[ready]  # type: ignore[index]
                answer = member.receive()
                if answer is None:
                    raise self._lost(member)
                if isinstance(answer, Failure):
                    # The error may be the consequence of a death, as of a lost connection.
                    dead = self._find_dead()
                    raise answer.error() if dead is None else self._lost(dead)
                answers[member.number] = answer
        return [answers[member.number] for member in self._members]

    def _find_dead(self) -> _Member | None:
        give_up_at = time.monotonic() + _DEATH_GRACE_S
        while time.monotonic() < give_up_at:
            for member in self._members:
                if member.process.poll() is not None:
                    return member
            time.sleep(_DEATH_GRACE_S / 10)
        return None

    def _lost(self, member: _Member) -> WorkerLostError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            member.process.wait(_DEATH_GRACE_S)
        return WorkerLostError(
            f"process {member.number + 1} of the {len(self._members)} of the trial {_describe(member.process.poll())}"
        )

    def _kill(self) -> None:
        """End all processes at once. Does nothing to those that have ended."""
        for member in self._members:
            member.process.kill()
        for member in self._members:
            member.process.wait()
            member.connection.close()
        self._members.clear()
        self._folder.cleanup()


class _Member:
    """One of the processes, and this end of its connection."""

    def __init__(self, job: Job) -> None:
        self.number = job.number
        self.connection: Connection[Any, Any]
        self.connection, there = Pipe()
        command = [sys.executable, "-m", _MAIN, str(there.fileno())]
        self.process = subprocess.Popen(  # noqa: S603  # this Python, and a module of ours
            command,
            pass_fds=[there.fileno()],
            stdin=subprocess.DEVNULL,
            env=_environment(job),
            process_group=0,  # Ctrl-C reaches the trial alone, which then ends them
        )
        there.close()
        with contextlib.suppress(OSError):  # its end is noticed when an answer is awaited
            self.connection.send(job)

    def send(self, command: Command) -> None:
        """Send a command. The end of the process is noticed when its answer is awaited."""
        with contextlib.suppress(OSError):
            self.connection.send(command)

    def receive(self) -> Any:
        """Return the next answer; None if the process has ended."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None


def visible_device(visible: str | None, number: int) -> str:
    """Return ``CUDA_VISIBLE_DEVICES`` of a process: the GPU of its number among those of the trial.

    Args:
        visible: the variable of the trial's process, as Ray sets it; None where all GPUs are visible.
        number: of the process, from 0.

    Returns:
        The name of one GPU; empty if there are fewer.
    """
    devices = [str(number)] if visible is None else [each.strip() for each in visible.split(",")][number : number + 1]
    return "".join(devices)


def _environment(job: Job) -> dict[str, str]:
    threads = int(os.environ.get("OMP_NUM_THREADS", "0")) // job.num_processes
    return {
        **os.environ,
        **({"OMP_NUM_THREADS": str(max(1, threads))} if "OMP_NUM_THREADS" in os.environ else {}),
        "PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
        "CUDA_VISIBLE_DEVICES": visible_device(os.environ.get("CUDA_VISIBLE_DEVICES"), job.number),
    }


def _describe(status: int | None) -> str:
    if status is None:
        return "has closed its connection"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"has ended with status {status}"
