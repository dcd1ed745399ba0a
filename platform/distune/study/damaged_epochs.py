"""Damaged lines of a trial's ``metrics.jsonl``, and whether they may change the best epoch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from distune.records import trial_key
from distune.study.files.study_folder import StudyFolder
from distune.study.search.stored_trial import StoredTrial
from distune.training.trial_folder import EpochRecords

_NUM_SHOWN = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class DamagedEpochs:
    """The damaged lines of a trial.

    Attributes:
        trial: key of the trial.
        file: its ``metrics.jsonl``.
        lines: numbers of the damaged lines, from 1.
        unknown: epochs whose score is known neither from the file nor from Optuna.
    """

    trial: str
    file: Path
    lines: tuple[int, ...]
    unknown: tuple[int, ...]

    @property
    def may_change_best(self) -> bool:
        """True when another epoch of the trial may be its best one."""
        return bool(self.unknown)

    def __str__(self) -> str:
        """Return the number of lines, the file, and the consequence."""
        many = len(self.lines) > 1
        lines = f"{len(self.lines)} damaged line{'s' if many else ''} ({_list(self.lines)})"
        if not self.unknown:
            rest = "Optuna holds the scores of these epochs, so the best epoch stays the same"
        else:
            several = len(self.unknown) > 1
            rest = (
                f"the score{'s' if several else ''} of epoch{'s' if several else ''} {_list(self.unknown)} "
                f"{'are' if several else 'is'} lost, so the best epoch may be another one"
            )
        return f"trial {self.trial}: {self.file} has {lines}; {rest}"


def find_damaged_epochs(
    folder: StudyFolder, stored: Iterable[StoredTrial], records: Mapping[int, EpochRecords]
) -> list[DamagedEpochs]:
    """Return the damaged lines of the trials of a study.

    Args:
        folder: of the study.
        stored: the trials in Optuna.
        records: number of a trial to its records.

    Returns:
        An entry for each trial with damaged lines.
    """
    found = []
    for trial in stored:
        known = records[trial.number]
        if not known.damaged_lines:
            continue
        # A line is an epoch, so that many were recorded at least.
        num_epochs = max(len(known.reports) + len(known.damaged_lines), *(each.epoch for each in known.reports), 0)
        scored = {report.epoch for report in known.reports} | set(trial.scores)
        found.append(
            DamagedEpochs(
                trial=trial_key(trial.number),
                file=folder.trial(trial.number).metrics_file,
                lines=known.damaged_lines,
                unknown=tuple(_missing(scored, num_epochs, most=len(known.damaged_lines))),
            )
        )
    return found


def _missing(scored: set[int], num_epochs: int, *, most: int) -> list[int]:
    """Return the first epochs without a score: at most as many as there are damaged lines."""
    missing: list[int] = []
    for epoch in range(1, num_epochs + 1):
        if len(missing) == most:
            break
        if epoch not in scored:
            missing.append(epoch)
    return missing


def _list(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers[:_NUM_SHOWN])) + (", ..." if len(numbers) > _NUM_SHOWN else "")
