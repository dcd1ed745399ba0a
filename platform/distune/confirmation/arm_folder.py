"""The folder of one arm under one seed: a trial's folder, and the outcome of its training."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distune.atomic_write import write_atomically
from distune.bounded_read import read_bounded
from distune.errors import StudyError
from distune.evidence.matches import MatchTable, read_matches
from distune.records import Outcome, TrialSpec
from distune.study.files.artifacts import write_trial_file
from distune.study.files.recorded_spec import recorded_values, spec_mismatch
from distune.training.trial_folder import TrialFolder

_REPORTED, _OLD_REPORTED = "reported.json", "told.json"
"""Marks a reported outcome; the second name is that of earlier versions."""


@dataclasses.dataclass(frozen=True)
class ArmFolder:
    """The files of an arm under a seed. Its worker writes the outcome; the session marks it as reported."""

    path: Path

    @classmethod
    def of(cls, spec: TrialSpec) -> ArmFolder:
        """Return the folder of a specification."""
        return cls(Path(spec.folder))

    @property
    def trial(self) -> TrialFolder:
        """Metrics and checkpoints."""
        return TrialFolder(self.path)

    @property
    def outcome_file(self) -> Path:
        """The outcome of the training; absent as long as it has not ended."""
        return self.path / "outcome.json"

    @property
    def notes_file(self) -> Path:
        """Messages for the user about how the training was resumed, one per line."""
        return self.path / "notes.txt"

    @property
    def is_reported(self) -> bool:
        """True when the tracker has received the outcome, also from an earlier version."""
        return any((self.path / name).is_file() for name in (_REPORTED, _OLD_REPORTED))

    def matches_file(self, split: str) -> Path:
        """Return the file with the matches of the best epoch's student on a split."""
        return self.path / f"matches-{split}.npz"

    def mismatch(self, spec: TrialSpec) -> str | None:
        """Return how the training in the folder differs from the specification, as text; None when it does not."""
        return spec_mismatch(self.path, spec)

    def is_new_training(self, spec: TrialSpec) -> bool:
        """Return whether the specification is trained from its first epoch: the folder is new, or of another one."""
        return recorded_values(self.path) is None or self.mismatch(spec) is not None

    def prepare(self, spec: TrialSpec) -> str | None:
        """Prepare the folder for a training. Remove results of another specification, and forget failures.

        Return how the removed training differed, such as "under other settings"; None when nothing was removed.
        """
        mismatch = self.mismatch(spec)
        self._remove(all_of_it=mismatch is not None)
        known = recorded_values(self.path)
        if known is None or known.get("data_fingerprint") != spec.data_fingerprint:
            write_trial_file(spec)
        if self.outcome()[0] is Outcome.FAILED:
            for name in (_REPORTED, _OLD_REPORTED):  # before the outcome: a reported one is never reported again
                (self.path / name).unlink(missing_ok=True)
            self.outcome_file.unlink()
        return mismatch

    def outcome(self) -> tuple[Outcome | None, str | None]:
        """Return the outcome of the training and its reason; None for both as long as it has not ended."""
        values = _read(self.outcome_file)
        if values is None:
            return None, None
        try:
            return Outcome(values["outcome"]), values["reason"]
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged(self.outcome_file, error) from None

    def end(self, outcome: Outcome, reason: str | None = None) -> None:
        """Record the outcome. Remove the checkpoints for resuming, except after a failure, which is tried again."""
        write_atomically(self.outcome_file, json.dumps({"outcome": outcome, "reason": reason}).encode())
        if outcome is not Outcome.FAILED:
            self.trial.last_checkpoint.unlink(missing_ok=True)
            self.trial.previous_checkpoint.unlink(missing_ok=True)

    def mark_reported(self) -> None:
        """Record that the tracker has received the outcome."""
        write_atomically(self.path / _REPORTED, b"{}")

    def add_notes(self, notes: Iterable[str]) -> None:
        """Add messages for the user."""
        with self.notes_file.open("a", encoding="utf-8") as file:
            file.writelines(f"{' '.join(note.split())}\n" for note in notes)

    def notes(self) -> list[str]:
        """Return all messages for the user so far."""
        return self.notes_file.read_text(encoding="utf-8").splitlines() if self.notes_file.is_file() else []

    def save_matches(self, split: str, table: MatchTable) -> None:
        """Write the matches on a split."""
        write_atomically(self.matches_file(split), table.to_bytes())

    def matches(self, split: str) -> MatchTable | None:
        """Read the matches on a split, None when it was not scored. Raise ``StudyError`` when the file is damaged."""
        file = self.matches_file(split)
        return read_matches(file) if file.is_file() else None

    def _remove(self, *, all_of_it: bool) -> None:
        """Remove the folder, under another name first, so that a crash never leaves a part of it."""
        trash = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(trash, ignore_errors=True)
        if all_of_it:
            self.path.rename(trash)
            shutil.rmtree(trash)


def _read(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(read_bounded(file))
    except (ValueError, RecursionError) as error:
        raise _damaged(file, error) from None
    return values


def _damaged(file: Path, error: Exception) -> StudyError:
    return StudyError(f"{file} cannot be read: {error}; remove its folder and run the command again")
