"""The spool: an append-only file of events and the offset of the sent part. Survives crashes and full disks."""

from __future__ import annotations

import collections
import dataclasses
import errno
import io
import logging
import os
import threading
from pathlib import Path

from distune.atomic_write import open_atomically
from distune.bounded_read import read_bounded
from distune.tracking.events import Event, FileLogged, decode, encode
from distune.tracking.partial_line import truncate_partial_line
from distune.tracking.sendable import check_sendable

SPOOL_FILE, REFUSED_FILE, OFFSET_FILE = "spool.jsonl", "spool.refused.jsonl", "spool.offset"

_LOG = logging.getLogger(__name__)
_MAX_UNWRITTEN = 100_000
_FSYNC_NOT_SUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@dataclasses.dataclass(frozen=True)
class SpoolLine:
    """One line of the spool.

    Attributes:
        text: the line without its end.
        end: offset of the byte after it, to be committed once the line was sent.
        event: the event of the line; None when the line cannot be read.
        error: why it cannot be read.
    """

    text: bytes
    end: int
    event: Event | None
    error: str = ""


class Spool:
    """``spool.jsonl``, a line per event, and ``spool.offset``, how much of it was sent.

    ``append`` may be called from any thread; ``read_from`` and ``commit`` only from the thread that sends.
    A line is written at once, so it survives the end of this process. It is synced to the disk when the study asks for
    a ``blocking_error`` and in ``close``; a power failure may lose the lines written since.

    Args:
        folder: the study's folder; created when it is missing.

    Raises:
        OSError: the spool cannot be opened.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / SPOOL_FILE
        self.refused_path = folder / REFUSED_FILE
        self._offset_path = folder / OFFSET_FILE
        self._lock = threading.Lock()
        self._unwritten: collections.deque[bytes] = collections.deque(maxlen=_MAX_UNWRITTEN)
        self._num_lost = 0
        self._blocking_error = ""
        self._sync_error: str | None = None
        self._logged: set[str] = set()
        self._size = truncate_partial_line(self.path)
        self._file: io.FileIO | None = io.FileIO(self.path, "ab")
        self._committed = min(read_offset(self._offset_path), self._size)

    @property
    def committed(self) -> int:
        """Offset up to which everything was sent."""
        return self._committed

    @property
    def has_backlog(self) -> bool:
        """True when some lines are not sent yet."""
        return self._committed < self._size

    def append(self, event: Event) -> None:
        """Add an event. Never raises: lines that do not fit on a full disk are kept in memory and written later."""
        try:
            line = encode(event)
            with self._lock:
                self._num_lost += len(self._unwritten) == _MAX_UNWRITTEN
                self._unwritten.append(line)
                self._write_out()
        except Exception as error:
            self._log_once("append", f"an event of the study could not be recorded: {error!r}")

    def blocking_error(self) -> str | None:
        """Try to write and sync all lines; return why that failed, None when all are on the disk."""
        with self._lock:
            if self._unwritten:
                self._write_out()
            if self._unwritten:
                return self._blocking_error
            return self._sync()

    def read_from(self, offset: int, *, max_lines: int = 1000) -> list[SpoolLine]:
        """Return up to ``max_lines`` complete lines after ``offset``; none when the file cannot be read."""
        lines: list[SpoolLine] = []
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                while len(lines) < max_lines and (text := file.readline()).endswith(b"\n"):
                    offset += len(text)
                    lines.append(_read_line(text[:-1], offset, self.path.parent))
        except OSError as error:
            self._log_once("read", f"{self.path} cannot be read, so nothing is sent to the tracking server: {error}")
        return lines

    def commit(self, offset: int) -> None:
        """Record that everything before ``offset`` was sent. Never raises: at worst lines are sent twice."""
        self._committed = offset
        try:
            with open_atomically(self._offset_path, is_durable=False) as file:
                file.write(b"%d\n" % offset)
        except OSError as error:
            self._log_once("commit", f"{self._offset_path} cannot be written: {error}")

    def save_refused(self, line: bytes) -> None:
        """Append a line to ``spool.refused.jsonl``, for events that the tracking server refuses. Never raises."""
        try:
            with self.refused_path.open("ab") as file:
                file.write(line + b"\n")
        except OSError as error:
            self._log_once("refused", f"{self.refused_path} cannot be written: {error}")

    def close(self) -> None:
        """Write and sync the lines that are still in memory. Events appended later are lost."""
        with self._lock:
            if self._file is None:
                return
            self._write_out()
            lost = self._num_lost + len(self._unwritten)
            if lost:
                _LOG.error("%d events of the study could not be written to %s and are lost", lost, self.path)
            self._sync()
            try:
                self._file.close()
            except OSError as error:
                self._log_once("close", f"{self.path} cannot be closed: {error}")
            self._file = None

    def _write_out(self) -> None:
        """Move lines from memory to the file, in order, until a write fails."""
        if self._file is None:
            self._log_once("closed", "an event came after the tracker was closed and is lost")
            self._unwritten.clear()
            return
        try:
            while self._unwritten:
                line = self._unwritten[0]
                if self._file.write(line) != len(line):
                    raise OSError("only a part of a line was written")
                self._size += len(line)
                self._unwritten.popleft()
        except OSError as error:
            self._remove_partial_line()
            self._blocking_error = f"{self.path} cannot be written: {error}"
            self._log_once("write", f"{self.path} cannot be written; events are kept in memory for now: {error}")

    def _sync(self) -> str | None:
        """Sync the file, so that it survives a power failure; return why that failed.

        After one failure the spool keeps reporting it, since the operating system reports a lost page only once. A
        file system without fsync is accepted.
        """
        if self._file is None or self._sync_error is not None:
            return self._sync_error
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            message = f"{self.path} cannot be synced to the disk: {error}"
            self._log_once("fsync", message)
            if error.errno not in _FSYNC_NOT_SUPPORTED:
                self._sync_error = message
        return self._sync_error

    def _remove_partial_line(self) -> None:
        try:
            os.truncate(self.path, self._size)
        except OSError as error:
            self._log_once("truncate", f"{self.path} cannot be repaired after a failed write: {error}")

    def _log_once(self, topic: str, message: str) -> None:
        if topic not in self._logged:
            self._logged.add(topic)
            _LOG.error("%s", message)


def _read_line(text: bytes, end: int, folder: Path) -> SpoolLine:
    """Read a line. A file's path is relative to the folder of the spool; earlier versions wrote absolute ones.

    The folder may come from somebody else, so only files in it are events.
    """
    try:
        event = decode(text)
        if isinstance(event, FileLogged):
            event = dataclasses.replace(event, path=str(folder.absolute() / event.path))
            check_sendable(Path(event.path), folder.absolute())
        return SpoolLine(text, end, event)
    except ValueError as error:
        return SpoolLine(text, end, None, str(error))


def read_offset(path: Path) -> int:
    """Return the committed offset; 0, which sends everything again, when it is missing or damaged."""
    try:
        return max(0, int(read_bounded(path)))
    except (OSError, ValueError):
        return 0
