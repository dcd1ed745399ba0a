"""The folder of a study's ablation: its result, and the runs without a term."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from distune.atomic_write import write_atomically
from distune.bounded_read import read_bounded
from distune.errors import StudyError
from distune.evidence.ablation_result import AblationResult


@dataclasses.dataclass(frozen=True)
class AblationFolder:
    """``ablation/`` in a study's folder. The runs with all terms, and the control, are in ``confirmation/``."""

    path: Path

    @property
    def record_file(self) -> Path:
        """Result of the latest ablation that finished."""
        return self.path / "ablation.json"

    def read(self) -> AblationResult | None:
        """Read the result; None when there is none. Raises ``StudyError`` when the file is damaged."""
        try:
            return AblationResult.from_dict(json.loads(read_bounded(self.record_file)))
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise StudyError(
                f"{self.record_file} cannot be read: {error}; remove it and run distune explain --ablate again"
            ) from None

    def write(self, result: AblationResult) -> None:
        """Replace the result."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.record_file, json.dumps(result.to_dict(), indent=1).encode())
