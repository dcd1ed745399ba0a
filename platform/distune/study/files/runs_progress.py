"""The progress of a confirmation or an ablation that runs, for ``distune status`` in another process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path

from distune.atomic_write import open_atomically
from distune.bounded_read import read_bounded

_NUM_SHOWN = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunsProgress:
    """Runs of a session that trains trials again.

    Attributes:
        session: ``confirmation`` or ``ablation``.
        num_runs: of the session, at most.
        num_ended: of these.
        running: key of a run to the epochs that it has done and those that it has in all.
    """

    session: str
    num_runs: int
    num_ended: int = 0
    running: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)

    def __str__(self) -> str:
        """Return the counts, and the epochs of the runs in progress."""
        shown = [f"{key} epoch {done}/{total}" for key, (done, total) in list(self.running.items())[:_NUM_SHOWN]]
        more = len(self.running) - len(shown)
        running = "".join(f"; {each}" for each in shown) + (f"; {more} more running" if more > 0 else "")
        return f"{self.session}: {self.num_ended} of at most {self.num_runs} runs ended{running}"

    def write(self, file: Path) -> None:
        """Replace the file. An error of the disk is no error of the session, which records everything elsewhere."""
        with contextlib.suppress(OSError), open_atomically(file, is_durable=False) as opened:
            opened.write(json.dumps(dataclasses.asdict(self)).encode())

    @classmethod
    def read(cls, file: Path) -> RunsProgress | None:
        """Read the file; None without one, and where it is damaged."""
        try:
            values = json.loads(read_bounded(file))
            return cls(
                session=str(values["session"]),
                num_runs=int(values["num_runs"]),
                num_ended=int(values["num_ended"]),
                running={str(key): (int(done), int(total)) for key, (done, total) in values["running"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
