"""The result of a confirmation and its test evaluations, in the folder of the study."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from distune.errors import StudyError
from distune.evidence.confirmation_result import ConfirmationResult, EvaluationRecord
from distune.training.trial_folder import write_atomically


@dataclasses.dataclass(frozen=True)
class ConfirmationFolder:
    """``confirmation/`` in a study's folder."""

    path: Path

    @property
    def record_file(self) -> Path:
        """The result of the latest confirmation that was completed."""
        return self.path / "confirmation.json"

    @property
    def test_evaluations_file(self) -> Path:
        """All evaluations on the test split, in order."""
        return self.path / "test-evaluations.json"

    @property
    def picture_file(self) -> Path:
        """Gains by seed."""
        return self.path / "gain.png"

    def read(self) -> ConfirmationResult | None:
        """Read the result, None when there is none. Raise ``StudyError`` when the file is damaged."""
        try:
            return ConfirmationResult.from_dict(json.loads(self.record_file.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.record_file, error) from None

    def write(self, result: ConfirmationResult) -> None:
        """Replace the result."""
        write_atomically(self.record_file, json.dumps(result.to_dict(), indent=1).encode())

    def test_evaluations(self) -> list[EvaluationRecord]:
        """Read all evaluations on the test split. Raise ``StudyError`` when the file is damaged."""
        file = self.test_evaluations_file
        if not file.is_file():
            file = self.path / "test-looks.json"  # as earlier versions named it
        try:
            values = json.loads(file.read_bytes())
            return [
                EvaluationRecord(trial=int(each["trial"]), seeds=tuple(each["seeds"]), metric=each.get("metric"))
                for each in values
            ]
        except FileNotFoundError:
            return []
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(file, error) from None

    def record_test_evaluation(self, evaluation: EvaluationRecord) -> int:
        """Record an evaluation on the test split, before it is made. One that is recorded already counts once.

        Return the number of other evaluations on record.
        """
        evaluations = self.test_evaluations()
        if evaluation not in evaluations:
            evaluations.append(evaluation)
            values = [dataclasses.asdict(each) for each in evaluations]
            write_atomically(self.test_evaluations_file, json.dumps(values).encode())
        return len(evaluations) - 1


def _unreadable(file: Path, error: Exception) -> StudyError:
    return StudyError(f"{file} cannot be read: {error}; remove it and run distune confirm again")
