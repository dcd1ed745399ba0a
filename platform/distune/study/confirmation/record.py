"""What a confirmation has found, as it is kept in the study's folder and read by everybody else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from distune.errors import StudyError
from distune.evidence.gain import Gain
from distune.training.folder import write_atomically


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trial of the search that was trained again.

    Attributes:
        number: of the trial.
        control: name of its control.
        search: its gain on the search split; None when no pair of runs has finished.
        failures: its runs that did not finish, a line each.
    """

    number: int
    control: str
    search: Gain | None
    failures: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Confirmation:
    """The outcome of a confirmation.

    Attributes:
        metric: what gains are measured in.
        seeds: all that were asked for.
        candidates: the trials, best on the fresh seeds first.
        winner: number of the best one.
        test: its gain on the test split, None where the experiment has none.
        other_looks: how often the test split was looked at before for another trial or other seeds.
        best_seed: under which the winner's student scored best on the search split.
        weights: its file, relative to the study's folder.
    """

    metric: str
    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    winner: int
    test: Gain | None
    other_looks: int
    best_seed: int
    weights: str

    @property
    def search(self) -> Gain:
        """The winner's gain on the search split."""
        found = next(each.search for each in self.candidates if each.number == self.winner)
        assert found is not None
        return found

    @property
    def final(self) -> Gain:
        """The last word: of the test split, or of the search split where there is no other."""
        return self.search if self.test is None else self.test

    @property
    def split(self) -> str:
        """The split that the last word is from."""
        return "search" if self.test is None else "test"

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_dict`` turns it back."""
        return {
            **dataclasses.asdict(self),
            "candidates": [
                {**dataclasses.asdict(each), "search": None if each.search is None else each.search.to_dict()}
                for each in self.candidates
            ],
            "test": None if self.test is None else self.test.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Confirmation:
        """The inverse of ``to_dict``. Raises ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        candidates = tuple(
            Candidate(
                number=int(each["number"]),
                control=each["control"],
                search=None if each["search"] is None else Gain.from_dict(each["search"]),
                failures=tuple(each["failures"]),
            )
            for each in values["candidates"]
        )
        test = None if values["test"] is None else Gain.from_dict(values["test"])
        return cls(**{**values, "seeds": tuple(values["seeds"]), "candidates": candidates, "test": test})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look:
    """A look at the test split: whose students, and under which seeds."""

    trial: int
    seeds: tuple[int, ...]


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

    def read(self) -> Confirmation | None:
        """The outcome; None as long as there is none. Raises ``StudyError`` when the file is damaged."""
        try:
            return Confirmation.from_dict(json.loads(self.record_file.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.record_file, error) from None

    def write(self, confirmation: Confirmation) -> None:
        """Replace the outcome."""
        write_atomically(self.record_file, json.dumps(confirmation.to_dict(), indent=1).encode())

    def looks(self) -> list[Look]:
        """All looks at the test split. Raises ``StudyError`` when the file is damaged."""
        try:
            values = json.loads(self.looks_file.read_bytes())
            return [Look(trial=int(each["trial"]), seeds=tuple(each["seeds"])) for each in values]
        except FileNotFoundError:
            return []
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise _unreadable(self.looks_file, error) from None

    def note_look(self, look: Look) -> int:
        """Put a look on record, before it is taken. One that is on record already counts once.

        Returns:
            How many others there were before it.
        """
        looks = self.looks()
        if look not in looks:
            looks.append(look)
            write_atomically(self.looks_file, json.dumps([dataclasses.asdict(each) for each in looks]).encode())
        return looks.index(look)


def _unreadable(file: Path, error: Exception) -> StudyError:
    return StudyError(f"{file} cannot be read: {error}; remove it and run distune confirm again")
