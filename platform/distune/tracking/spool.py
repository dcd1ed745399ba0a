"""The spool: events in an append-only file beside an offset of what has been sent. Survives crashes and full disks."""

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
from distune.tracking.events import Event, encode
from distune.tracking.partial_line import truncate_partial_line

_LOG = logging.getLogger(__name__)
_MAX_UNWRITTEN = 100_000
_NO_SUCH_REQUEST = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


@dataclasses.dataclass(frozen=True)
class SpoolLine:
    """One line of the spool.

    Attributes:
        text: the line without its end.
        end: offset of the byte after it, to be committed once the line was sent.
    """

    text: bytes
    end: int


class Spool:
    """``spool.jsonl``, a line per event, and ``spool.offset``, how much of it was sent.

    ``append`` may be called from any thread; ``read_from`` and ``commit`` belong to the one thread that sends.
    A line is handed to the operating system at once, so it survives the end of this process. It is forced to the disk
    where the study asks for an ``blocking_error``, and at the end; a power failure may take what came in between.

    Args:
        folder: the study's folder; made when it is missing.

    Raises:
        OSError: the spool cannot be opened there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "spool.jsonl"
        self.refused_path = folder / "spool.refused.jsonl"
        self._offset_path = folder / "spool.offset"
        self._lock = threading.Lock()
        self._unwritten: collections.deque[bytes] = collections.deque(maxlen=_MAX_UNWRITTEN)
        self._num_lost = 0
        self._blocking_error = ""
        self._unforced: str | None = None
        self._said: set[str] = set()
        self._size = truncate_partial_line(self.path)
        self._file: io.FileIO | None = io.FileIO(self.path, "ab")
        self._committed = min(_read_offset(self._offset_path), self._size)

    @property
    def committed(self) -> int:
        """Offset up to which everything was sent."""
        return self._committed

    @property
    def has_backlog(self) -> bool:
        """Whether anything waits to be sent."""
        return self._committed < self._size

    def append(self, event: Event) -> None:
        """Add an event. Never raises: what a full disk does not take is kept in memory and written later."""
        try:
            line = encode(event)
            with self._lock:
                self._num_lost += len(self._unwritten) == _MAX_UNWRITTEN
                self._unwritten.append(line)
                self._write_out()
        except Exception as error:
            self._say_once("append", f"an event of the study could not be recorded: {error!r}")

    def blocking_error(self) -> str | None:
        """Why the disk does not hold all lines, after one more attempt to bring them there; None when it does."""
        with self._lock:
            if self._unwritten:
                self._write_out()
            if self._unwritten:
                return self._blocking_error
            return self._force_to_disk()

    def read_from(self, offset: int, *, max_lines: int = 1000) -> list[SpoolLine]:
        """Up to ``max_lines`` whole lines after ``offset``; none when the file cannot be read."""
        lines: list[SpoolLine] = []
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                while len(lines) < max_lines and (text := file.readline()).endswith(b"\n"):
                    offset += len(text)
                    lines.append(SpoolLine(text[:-1], offset))
        except OSError as error:
            self._say_once("read", f"{self.path} cannot be read, so nothing is sent to the tracking server: {error}")
        return lines

    def commit(self, offset: int) -> None:
        """Remember that everything before ``offset`` was sent. Never raises: at worst lines are sent twice."""
        self._committed = offset
        try:
            with open_atomically(self._offset_path, is_durable=False) as file:
                file.write(b"%d\n" % offset)
        except OSError as error:
            self._say_once("commit", f"{self._offset_path} cannot be written: {error}")

    def set_aside(self, line: bytes) -> None:
        """Keep a line that the tracking server will never take, in ``spool.refused.jsonl``. Never raises."""
        try:
            with self.refused_path.open("ab") as file:
                file.write(line + b"\n")
        except OSError as error:
            self._say_once("refused", f"{self.refused_path} cannot be written: {error}")

    def close(self) -> None:
        """Write what is still in memory, to the disk itself. Events appended later are lost."""
        with self._lock:
            if self._file is None:
                return
            self._write_out()
            lost = self._num_lost + len(self._unwritten)
            if lost:
                _LOG.error("%d events of the study could not be written to %s and are lost", lost, self.path)
            self._force_to_disk()
            try:
                self._file.close()
            except OSError as error:
                self._say_once("close", f"{self.path} cannot be closed: {error}")
            self._file = None

    def _write_out(self) -> None:
        """Move lines from memory to the file, in order, and stop at the first that it does not take."""
        if self._file is None:
            self._say_once("closed", "an event came after the tracker was closed and is lost")
            self._unwritten.clear()
            return
        try:
            while self._unwritten:
                line = self._unwritten[0]
                if self._file.write(line) != len(line):
                    raise OSError("the disk took only a part of a line")
                self._size += len(line)
                self._unwritten.popleft()
        except OSError as error:
            self._drop_part_of_line()
            self._blocking_error = f"{self.path} cannot be written: {error}"
            self._say_once("write", f"{self.path} cannot be written; events are kept in memory for now: {error}")

    def _force_to_disk(self) -> str | None:
        """Survive a power failure from here on. Returns why that cannot be.

        Once it has failed it stays so for this spool: the operating system tells of a lost page only once. A file
        system that knows no such request is none the worse for it.
        """
        if self._file is None or self._unforced is not None:
            return self._unforced
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            message = f"{self.path} cannot be forced to the disk: {error}"
            self._say_once("fsync", message)
            if error.errno not in _NO_SUCH_REQUEST:
                self._unforced = message
        return self._unforced

    def _drop_part_of_line(self) -> None:
        try:
            os.truncate(self.path, self._size)
        except OSError as error:
            self._say_once("truncate", f"{self.path} cannot be repaired after a failed write: {error}")

    def _say_once(self, topic: str, message: str) -> None:
        if topic not in self._said:
            self._said.add(topic)
            _LOG.error("%s", message)


def _read_offset(path: Path) -> int:
    """The committed offset; 0, which sends everything again, when there is none or it is damaged."""
    try:
        return max(0, int(path.read_bytes()))
    except (OSError, ValueError):
        return 0
