"""The folder of a study's confirmation: its result, and the evaluations on the test split."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from filelock import FileLock

from distune.atomic_write import write_atomically
from distune.bounded_read import read_bounded
from distune.errors import StudyError
from distune.evidence.confirmation_result import AnalysisRecord, ConfirmationResult, EvaluationRecord


@dataclasses.dataclass(frozen=True)
class ConfirmationFolder:
    """``confirmation/`` in a study's folder."""

    path: Path

    @property
    def record_file(self) -> Path:
        """Result of the latest confirmation that finished."""
        return self.path / "confirmation.json"

    @property
    def test_evaluations_file(self) -> Path:
        """All evaluations on the test split, in order."""
        return self.path / "test-evaluations.json"

    @property
    def legacy_test_evaluations_file(self) -> Path:
        """The same in studies of earlier versions. Only read, while the new file does not exist."""
        return self.path / "test-looks.json"

    @property
    def analyses_file(self) -> Path:
        """All intervals that were computed, in order."""
        return self.path / "analyses.json"

    @property
    def picture_file(self) -> Path:
        """Figure of the gains by seed."""
        return self.path / "gain.png"

    def read(self) -> ConfirmationResult | None:
        """Read the result; None when there is none. Raises ``StudyError`` when the file is damaged."""
        try:
            return ConfirmationResult.from_dict(json.loads(read_bounded(self.record_file)))
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.record_file, error) from None

    def write(self, confirmation: ConfirmationResult) -> None:
        """Replace the result."""
        write_atomically(self.record_file, json.dumps(confirmation.to_dict(), indent=1).encode())

    def test_evaluations(self) -> list[EvaluationRecord]:
        """Read all evaluations on the test split. Raises ``StudyError`` when the file is damaged."""
        file = self.test_evaluations_file
        if not file.is_file():
            file = self.legacy_test_evaluations_file
        try:
            values = json.loads(read_bounded(file))
            return [
                EvaluationRecord(
                    trial=None if each["trial"] is None else int(each["trial"]),
                    seeds=tuple(each["seeds"]),
                    metric=each.get("metric"),
                )
                for each in values
            ]
        except FileNotFoundError:
            return []
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(file, error) from None

    def record_test_evaluation(self, evaluation: EvaluationRecord) -> list[EvaluationRecord]:
        """Record an evaluation on the test split before it is done. The same evaluation counts once.

        Args:
            evaluation: trial, seeds and metric.

        Returns:
            The other evaluations on record.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / ".test-evaluations.lock"):
            evaluations = self.test_evaluations()
            if evaluation not in evaluations:
                evaluations.append(evaluation)
                content = json.dumps([dataclasses.asdict(each) for each in evaluations])
                write_atomically(self.test_evaluations_file, content.encode())
        return [each for each in evaluations if each != evaluation]

    def analyses(self, trial: int, metric: str, split: str) -> list[AnalysisRecord]:
        """Read the intervals of a trial, by number of seeds. Raises ``StudyError`` when the file is damaged."""
        records = [each for each in self._analyses() if (each.trial, each.metric, each.split) == (trial, metric, split)]
        return sorted(records, key=lambda each: each.num_seeds)

    def record_analysis(self, analysis: AnalysisRecord) -> None:
        """Record an interval before it is shown. The same one counts once."""
        records = self._analyses()
        if analysis not in records:
            content = json.dumps([dataclasses.asdict(each) for each in [*records, analysis]])
            write_atomically(self.analyses_file, content.encode())

    def _analyses(self) -> list[AnalysisRecord]:
        try:
            values = json.loads(read_bounded(self.analyses_file))
            return [
                AnalysisRecord(**{**each, "plan": None if each["plan"] is None else tuple(each["plan"])})
                for each in values
            ]
        except FileNotFoundError:
            return []
        except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.analyses_file, error) from None


def _unreadable(file: Path, error: Exception) -> StudyError:
    return StudyError(f"{file} cannot be read: {error}; remove it and run distune confirm again")
