"""The result of a confirmation: candidates, their gains and the winner. Plain values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from distune.evidence.gain import Gain, Verdict
from distune.evidence.gain_text import describe_gain
from distune.records import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trial of the search that was trained again.

    Attributes:
        number: of the trial.
        control: name of its control.
        search: its gain on the search split; None when no pair of runs has finished.
        failures: its runs and its control's that did not finish, a line each: ``KEY: OUTCOME (REASON)``.
    """

    number: int
    control: str
    search: Gain | None
    failures: tuple[str, ...] = ()

    @property
    def own_failures(self) -> tuple[str, ...]:
        """Those of the trial, not of its control."""
        return tuple(line for line in self.failures if line.startswith(f"confirm-{self.number}-seed-"))

    @property
    def num_diverged(self) -> int:
        """Under how many seeds the student itself has diverged. Leaving them out flatters it."""
        return sum(_outcome_of(line) == Outcome.DIVERGED for line in self.own_failures)

    def verdict(self, gain: Gain) -> Verdict:
        """What a gain of it says: none is proven as long as the student diverges under some seeds."""
        is_unstable = gain.verdict is Verdict.GAIN and self.num_diverged > 0
        return Verdict.UNSTABLE if is_unstable else gain.verdict

    def describe(self, gain: Gain, *, num_seeds: int) -> str:
        """A gain of it in one line, with what became of the seeds that are not in it.

        Args:
            gain: on either split.
            num_seeds: how many were asked for.
        """
        counts = Counter((line in self.own_failures, _outcome_of(line)) for line in self.failures)
        lost = "".join(
            f", {number} {outcome}" if is_own else f", {number} control{'s' * (number > 1)} {outcome}"
            for (is_own, outcome), number in counts.items()
        )
        seeds = None if gain.num_seeds == num_seeds else f"{gain.num_seeds} of {num_seeds} seeds{lost}"
        return describe_gain(gain, verdict=self.verdict(gain), seeds=seeds)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfirmationResult:
    """The outcome of a confirmation.

    Attributes:
        metric: what gains are measured in.
        seeds: all that were asked for.
        candidates: the trials, best on the fresh seeds first.
        winner: number of the best one.
        test: its gain on the test split, None where the experiment has none.
        previous_test_evaluations: how many other looks at the test split are on record: for another trial, seeds or
        metric.
        best_seed: under which the winner's student scored best on the search split.
        weights: its file, relative to the study's folder.
    """

    metric: str
    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    winner: int
    test: Gain | None
    previous_test_evaluations: int
    best_seed: int
    weights: str

    @property
    def best(self) -> Candidate:
        """The winner."""
        return next(each for each in self.candidates if each.number == self.winner)

    @property
    def search(self) -> Gain:
        """The winner's gain on the search split."""
        found = self.best.search
        assert found is not None
        return found

    @property
    def final(self) -> Gain:
        """The last word: of the test split, or of the search split where there is no other."""
        return self.search if self.test is None else self.test

    @property
    def verdict(self) -> Verdict:
        """What the last word comes to."""
        return self.best.verdict(self.final)

    @property
    def words(self) -> str:
        """The last word in one line."""
        return self.best.describe(self.final, num_seeds=len(self.seeds))

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
    def from_dict(cls, values: dict[str, Any]) -> ConfirmationResult:
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
class EvaluationRecord:
    """A look at the test split: whose students, under which seeds, and by what; earlier versions did not note that."""

    trial: int
    seeds: tuple[int, ...]
    metric: str | None


def _outcome_of(failure: str) -> str:
    """The outcome that a line of ``Candidate.failures`` tells: ``KEY: OUTCOME (REASON)``."""
    return failure.partition(": ")[2].partition(" (")[0]
