"""What a confirmation has found, as it is kept in the study's folder and read by everybody else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from distune.atomic_write import write_atomically
from distune.errors import StudyError
from distune.evidence.confirmation_result import ConfirmationResult, EvaluationRecord


@dataclasses.dataclass(frozen=True)
class ConfirmationFolder:
    """``confirmation/`` in a study's folder."""

    path: Path

    @property
    def record_file(self) -> Path:
        """The outcome of the latest confirmation that came to its end."""
        return self.path / "confirmation.json"

    @property
    def looks_file(self) -> Path:
        """All looks at the test split, in order."""
        return self.path / "test-looks.json"

    @property
    def picture_file(self) -> Path:
        """Gains by seed, drawn."""
        return self.path / "gain.png"

    def read(self) -> ConfirmationResult | None:
        """The outcome; None as long as there is none. Raises ``StudyError`` when the file is damaged."""
        try:
            return ConfirmationResult.from_dict(json.loads(self.record_file.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.record_file, error) from None

    def write(self, confirmation: ConfirmationResult) -> None:
        """Replace the outcome."""
        write_atomically(self.record_file, json.dumps(confirmation.to_dict(), indent=1).encode())

    def looks(self) -> list[EvaluationRecord]:
        """All looks at the test split. Raises ``StudyError`` when the file is damaged."""
        try:
            values = json.loads(self.looks_file.read_bytes())
            return [
                EvaluationRecord(trial=int(each["trial"]), seeds=tuple(each["seeds"]), metric=each.get("metric"))
                for each in values
            ]
        except FileNotFoundError:
            return []
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.looks_file, error) from None

    def record_test_evaluation(self, look: EvaluationRecord) -> int:
        """Put a look on record, before it is taken. One that is on record already counts once.

        Returns:
            How many others are on record.
        """
        looks = self.looks()
        if look not in looks:
            looks.append(look)
            write_atomically(self.looks_file, json.dumps([dataclasses.asdict(each) for each in looks]).encode())
        return len(looks) - 1


def _unreadable(file: Path, error: Exception) -> StudyError:
    return StudyError(f"{file} cannot be read: {error}; remove it and run distune confirm again")
