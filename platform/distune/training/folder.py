"""The folder of a trial: the truth about its metrics. Free of torch."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from distune.records import EpochReport


@dataclasses.dataclass(frozen=True)
class TrialFolder:
    """``metrics.jsonl``, a line per epoch, and the files beside it."""

    path: Path

    @property
    def metrics_file(self) -> Path:
        """One JSON line per epoch."""
        return self.path / "metrics.jsonl"

    @property
    def last_checkpoint(self) -> Path:
        """The state after the last epoch, from which a trial continues."""
        return self.path / "last.pt"

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
        """All epochs on record, in order. A torn last line, left by a crash, is not counted."""
        if not self.metrics_file.is_file():
            return []
        lines = self.metrics_file.read_bytes().split(b"\n")
        return [EpochReport.from_dict(json.loads(line)) for line in lines[:-1]]

    def append(self, report: EpochReport) -> None:
        """Record an epoch, durably. An epoch that is on record already is left as it is."""
        self._trim_torn_line()
        if any(known.epoch == report.epoch for known in self.reports()):
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with self.metrics_file.open("ab") as file:
            file.write(json.dumps(report.to_dict()).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def truncate(self, last_epoch: int) -> None:
        """Forget the epochs after ``last_epoch``: they have no checkpoint and will be trained again."""
        kept = [report for report in self.reports() if report.epoch <= last_epoch]
        if self.metrics_file.is_file():
            text = "".join(json.dumps(report.to_dict()) + "\n" for report in kept)
            write_atomically(self.metrics_file, text.encode())

    def _trim_torn_line(self) -> None:
        if self.metrics_file.is_file():
            content = self.metrics_file.read_bytes()
            if content and not content.endswith(b"\n"):
                write_atomically(self.metrics_file, content[: content.rfind(b"\n") + 1])


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that readers see the old content or the new, never a part, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
