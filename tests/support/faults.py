"""Faults at a single operation that changes a file: work runs in a fork, which is killed or gets an error there.

Operations are those of Python's audit events that change something below a folder, each ``fsync``, each write to a
spool, and each commit to Optuna's SQLite file.
"""

from __future__ import annotations

import dataclasses
import errno
import io
import json
import os
import signal
import sqlite3
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import optuna.storages._rdb.storage as rdb

from distune.errors import DistuneError
from distune.study.storage import optuna_storage
from distune.tracking import spool

Kind = Literal["kill", "full", "broken", "read-only"]
KINDS: tuple[Kind, ...] = ("kill", "full", "broken", "read-only")
_NUMBERS = {"full": errno.ENOSPC, "broken": errno.EIO, "read-only": errno.EROFS}
_OF_SQLITE = {
    "full": "database or disk is full",
    "broken": "disk I/O error",
    "read-only": "attempt to write a readonly database",
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink"}


@dataclasses.dataclass(frozen=True)
class Ended:
    """The end of work in a fork.

    Attributes:
        status: 0, 1 for a message, 70 for another exception, negative for a signal.
        text: the message, or the traceback.
        num_operations: operations that it has begun; of killed work, 0.
    """

    status: int
    text: str = ""
    num_operations: int = 0


class _Disk:
    """Counts operations below a folder, and injects the fault.

    A disk that is broken fails once; one that is full or read-only stays so.
    """

    def __init__(self, folder: Path, at: int | None, kind: Kind) -> None:
        self._folder, self._at, self._kind = os.fspath(folder), at, kind
        self.num_operations = 0
        self._lock = threading.RLock()

    def take(self, path: object = None) -> None:
        with self._lock:
            self.num_operations += 1
            number = self.num_operations
        if self._at is None or number < self._at or (self._kind == "broken" and number > self._at):
            return
        if self._kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(_NUMBERS[self._kind], os.strerror(_NUMBERS[self._kind]), path)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & _WRITING and self._is_below(path):
                self.take(path)
        elif event in _CHANGES and (self._is_below(arguments[0]) or self._is_relative(arguments)):
            self.take(arguments[0])

    def _is_below(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(self._folder)

    @staticmethod
    def _is_relative(arguments: tuple[Any, ...]) -> bool:
        """Return whether a path is relative to an open folder, as in ``shutil.rmtree``."""
        return arguments[-1] != -1 and isinstance(arguments[-1], int) and not str(arguments[0]).startswith("/")

    def install(self) -> None:
        real_fsync, disk = os.fsync, self

        def fsync(number: int) -> None:
            disk.take()
            real_fsync(number)

        class Connection(sqlite3.Connection):
            def commit(self) -> None:
                if self.in_transaction:
                    try:
                        disk.take()
                    except OSError:
                        raise sqlite3.OperationalError(_OF_SQLITE[disk._kind]) from None
                super().commit()

        class File(io.FileIO):
            def write(self, line: Any) -> int:
                try:
                    disk.take(self.name)
                except OSError:
                    super().write(bytes(line)[: len(line) // 2])
                    raise
                return super().write(line)

        def connect(path: Path) -> sqlite3.Connection:
            return sqlite3.connect(path, check_same_thread=False, factory=Connection)

        os.fsync = fsync  # type: ignore[assignment]
        optuna_storage._connect = connect
        setattr(spool, "io", SimpleNamespace(FileIO=File))  # noqa: B010
        setattr(rdb, "time", SimpleNamespace(sleep=lambda _: None))  # noqa: B010 - it tries again after seconds
        sys.addaudithook(self.audit)


def run_in_fork(work: Callable[[], object], folder: Path, *, at: int | None = None, kind: Kind = "kill") -> Ended:
    """Run work in a fork of this process.

    Args:
        work: is done; what it changes in memory is lost.
        folder: operations below it count.
        at: number of the operation at which the fault happens, from 1; None for none.
        kind: of the fault.

    Returns:
        The end of the work.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        disk = _Disk(folder, at, kind)
        status, text = 0, ""
        try:
            disk.install()
            work()
        except DistuneError as error:
            status, text = 1, str(error)
        except BaseException:
            status, text = 70, traceback.format_exc()
        finally:
            os.write(writing, json.dumps([status, text[-20_000:], disk.num_operations]).encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Ended(ended) if ended != 0 else Ended(*json.loads(answer))
