"""The folder of a trial: the truth about its metrics. Free of torch."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

from distune.atomic_write import write_atomically
from distune.records import EpochReport, TrialSpec
from distune.tracking.partial_line import truncate_partial_line


@dataclasses.dataclass(frozen=True)
class TrialFolder:
    """``metrics.jsonl``, a line per epoch, and the files beside it."""

    path: Path

    @classmethod
    def of(cls, spec: TrialSpec) -> TrialFolder:
        """Return the folder of a trial."""
        return cls(Path(spec.folder))

    @property
    def metrics_file(self) -> Path:
        """One JSON line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def last_checkpoint(self) -> Path:
        """The state after the last epoch, from which a trial continues."""
        return self.path / "last.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The state one epoch earlier, for when the last one turns out to be damaged."""
        return self.path / "previous.pt"

    @property
    def best_checkpoint(self) -> Path:
        """The student after its best epoch."""
        return self.path / "best.pt"

    def prototype_file(self, name: str) -> Path:
        """The prototypes of that hash."""
        return self.path / f"prototypes-{name}.pt"

    def prototype_files(self) -> list[Path]:
        """The prototypes after the best epoch: one file at most, unless a crash left an older one."""
        return sorted(self.path.glob("prototypes-*.pt"))

    def reports(self) -> list[EpochReport]:
        """All epochs on record, in order. A line that is torn or damaged, left by a crash, is not counted."""
        if not self.metrics_file.is_file():
            return []
        lines = self.metrics_file.read_bytes().split(b"\n")
        readable = (report for line in lines[:-1] if (report := _read(line)) is not None)
        return sorted(readable, key=lambda report: report.epoch)

    def append(self, report: EpochReport) -> None:
        """Record an epoch, durably. An epoch that is on record already is left as it is.

        Raises:
            OSError: it could not be written. A part of a line that was is removed by the next call.
        """
        truncate_partial_line(self.metrics_file)
        if any(known.epoch == report.epoch for known in self.reports()):
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with self.metrics_file.open("ab") as file:
            file.write(json.dumps(report.to_dict()).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def keep(self, is_kept: Callable[[EpochReport], bool]) -> None:
        """Forget all other epochs."""
        reports = self.reports()
        kept = [report for report in reports if is_kept(report)]
        if len(kept) < len(reports):
            write_atomically(self.metrics_file, "".join(json.dumps(each.to_dict()) + "\n" for each in kept).encode())


def _read(line: bytes) -> EpochReport | None:
    try:
        return EpochReport.from_dict(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
