"""The folder of one arm under one seed: a trial's folder, and what became of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from distune.atomic_write import write_atomically
from distune.config.hashing import content_hash
from distune.errors import StudyError
from distune.evidence.matches import MatchTable, read_matches
from distune.records import Outcome, TrialSpec
from distune.study.files.artifacts import TRIAL_FILE
from distune.training.trial_folder import TrialFolder

_DECIDING = ("data", "teacher", "student", "distillation", "training")
"""Sections of an experiment that decide what a training gives."""
_DATA = "data_fingerprint"


@dataclasses.dataclass(frozen=True)
class ArmFolder:
    """The files of an arm under a seed. Its worker writes the outcome, the session notes that it was told."""

    path: Path

    @classmethod
    def of(cls, spec: TrialSpec) -> ArmFolder:
        """Return the folder of an arm under the seed of ``spec``."""
        return cls(Path(spec.folder))

    @property
    def trial(self) -> TrialFolder:
        """Metrics and checkpoints."""
        return TrialFolder(self.path)

    @property
    def outcome_file(self) -> Path:
        """How the training has ended; absent as long as it has not."""
        return self.path / "outcome.json"

    @property
    def told_file(self) -> Path:
        """There when the tracker has been told of the end."""
        return self.path / "told.json"

    @property
    def notes_file(self) -> Path:
        """What a person should know about how the training went on, a line each."""
        return self.path / "notes.txt"

    def matches_file(self, split: str) -> Path:
        """The matches of the best epoch's student on a split."""
        return self.path / f"matches-{split}.npz"

    def mismatch(self, spec: TrialSpec) -> str | None:
        """How what is there was trained, if not as the specification says, in words; None when all is well."""
        known, asked = _read(self.path / TRIAL_FILE), vars(spec)
        if known is None:
            return "under unknown settings" if _holds_anything(self.path) else None
        if _identity(known) != _identity(asked):
            return "under other settings"
        if _teacher(known) != _teacher(asked):
            return "with another teacher"
        # Earlier versions did not note the data.
        is_other = None not in (known.get(_DATA), asked[_DATA]) and known[_DATA] != asked[_DATA]
        return "on other data" if is_other else None

    def prepare(self, spec: TrialSpec) -> str | None:
        """Make it ready for a training; what was trained otherwise is removed, failures are forgotten.

        Returns:
            How what was removed had been trained, such as "under other settings"; None when nothing was.
        """
        mismatch = self.mismatch(spec)
        self._remove(all_of_it=mismatch is not None)
        known = _read(self.path / TRIAL_FILE)
        if known is None or known.get(_DATA) != spec.data_fingerprint:
            write_atomically(self.path / TRIAL_FILE, json.dumps(vars(spec), indent=1).encode())
        if self.outcome()[0] is Outcome.FAILED:
            self.told_file.unlink(missing_ok=True)  # first: whatever has an outcome and was told is never told again
            self.outcome_file.unlink()
        return mismatch

    def outcome(self) -> tuple[Outcome | None, str | None]:
        """How the training has ended and why; None as long as it has not."""
        values = _read(self.outcome_file)
        return (None, None) if values is None else (Outcome(values["outcome"]), values["reason"])

    def end(self, outcome: Outcome, reason: str | None = None) -> None:
        """Record how the training has ended. The states that it would go on from are removed, if it never will."""
        write_atomically(self.outcome_file, json.dumps({"outcome": outcome, "reason": reason}).encode())
        if outcome is not Outcome.FAILED:
            self.trial.last_checkpoint.unlink(missing_ok=True)
            self.trial.previous_checkpoint.unlink(missing_ok=True)

    def note(self, notes: Iterable[str]) -> None:
        """Put on record what a person should know."""
        with self.notes_file.open("a", encoding="utf-8") as file:
            file.writelines(f"{' '.join(note.split())}\n" for note in notes)

    def notes(self) -> list[str]:
        """All that a person should know so far."""
        return self.notes_file.read_text(encoding="utf-8").splitlines() if self.notes_file.is_file() else []

    def save_matches(self, split: str, table: MatchTable) -> None:
        """Keep the matches on a split."""
        write_atomically(self.matches_file(split), table.to_bytes())

    def matches(self, split: str) -> MatchTable | None:
        """The matches on a split, None when it was not scored. Raises ``StudyError`` when the file is damaged."""
        file = self.matches_file(split)
        return read_matches(file) if file.is_file() else None

    def _remove(self, *, all_of_it: bool) -> None:
        """Remove the folder, under another name first, so that it is never half there; and what a crash left of one."""
        trash = self.path.with_name(f".{self.path.name}.old")
        shutil.rmtree(trash, ignore_errors=True)
        if all_of_it:
            self.path.rename(trash)
            shutil.rmtree(trash)


def _read(file: Path) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(file.read_bytes())
    except ValueError as error:
        raise StudyError(f"{file} cannot be read: {error}; remove its folder and run distune confirm again") from None
    return values


def _identity(spec: dict[str, Any]) -> str:
    return content_hash([spec["seed"], spec["num_epochs"], {name: spec["experiment"][name] for name in _DECIDING}])


def _teacher(spec: dict[str, Any]) -> str | None:
    """The hash that names the folder of the teacher: of all that constants it, wherever the folder lies."""
    weights = spec["teacher_weights"]
    return None if weights is None else Path(weights).parent.name


def _holds_anything(folder: Path) -> bool:
    """Whether there are files but those that were being written when a process died."""
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
