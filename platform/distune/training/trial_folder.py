"""The folder of a trial, the source of truth for its metrics. Does not import torch."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from distune.atomic_write import write_atomically
from distune.bounded_read import read_bounded
from distune.records import EpochReport, TrialSpec
from distune.tracking.partial_line import truncate_partial_line

_LOG = logging.getLogger(__name__)
_NUM_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class EpochRecords:
    """The content of ``metrics.jsonl``: the epochs in order, and the numbers of damaged lines, from 1."""

    reports: list[EpochReport]
    damaged_lines: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class TrialFolder:
    """``metrics.jsonl``, with a line per epoch, and the files beside it."""

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
        """The state after the last epoch, from which a trial resumes."""
        return self.path / "last.pt"

    @property
    def previous_checkpoint(self) -> Path:
        """The state one epoch earlier, used if the last one is damaged."""
        return self.path / "previous.pt"

    @property
    def best_checkpoint(self) -> Path:
        """The student after its best epoch."""
        return self.path / "best.pt"

    def prototype_file(self, name: str) -> Path:
        """Return the path of the prototypes of a hash."""
        return self.path / f"prototypes-{name}.pt"

    def prototype_files(self) -> list[Path]:
        """List the prototypes of the best epoch: at most one file, unless a crash left an older one."""
        return sorted(self.path.glob("prototypes-*.pt"))

    @property
    def is_trained(self) -> bool:
        """True when the folder holds an epoch or a checkpoint."""
        checkpoints = (self.last_checkpoint, self.previous_checkpoint, self.best_checkpoint)
        return any(path.exists() for path in checkpoints) or bool(self.reports())

    def reports(self) -> list[EpochReport]:
        """Return all recorded epochs in order. Damaged lines are skipped with a warning."""
        records = self.records()
        if records.damaged_lines:
            _warn_of_damage(self.metrics_file, records.damaged_lines)
        return records.reports

    def records(self) -> EpochRecords:
        """Return all recorded epochs, and the damaged lines. A last line without its end is neither."""
        if not self.metrics_file.is_file():
            return EpochRecords([])
        lines = read_bounded(self.metrics_file).split(b"\n")
        reports = [_read(line) for line in lines[:-1]]
        return EpochRecords(
            reports=sorted((each for each in reports if each is not None), key=lambda report: report.epoch),
            damaged_lines=tuple(number for number, each in enumerate(reports, start=1) if each is None),
        )

    def append(self, report: EpochReport) -> None:
        """Record an epoch durably. An epoch that is already recorded does not change.

        Args:
            report: of the epoch.

        Raises:
            OSError: it could not be written. The next call removes a partial line.
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
        """Remove the records of all epochs for which ``is_kept`` is false."""
        reports = self.reports()
        kept = [report for report in reports if is_kept(report)]
        if len(kept) < len(reports):
            write_atomically(self.metrics_file, "".join(json.dumps(each.to_dict()) + "\n" for each in kept).encode())


@functools.cache
def _warn_of_damage(file: Path, lines: tuple[int, ...]) -> None:
    """Warn once in a process: the best epoch of the trial may be another one without these lines."""
    if len(lines) == 1:
        _LOG.warning("%s, line %d is damaged, so this epoch is missing in all results of the trial", file, *lines)
        return
    shown = ", ".join(map(str, lines[:_NUM_SHOWN])) + (", ..." if len(lines) > _NUM_SHOWN else "")
    _LOG.warning(
        "%s: %d lines are damaged (%s), so these epochs are missing in all results of the trial",
        file,
        len(lines),
        shown,
    )


def _read(line: bytes) -> EpochReport | None:
    try:
        return EpochReport.from_dict(json.loads(line))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
