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
    """A trial of the search that was trained again on fresh seeds.

    Attributes:
        number: of the trial.
        control: name of its control.
        search: gain on the search split; None when no pair of runs has finished.
        failures: runs of the trial and its control that did not finish, a line each: ``KEY: OUTCOME (REASON)``.
    """

    number: int
    control: str
    search: Gain | None
    failures: tuple[str, ...] = ()

    @property
    def own_failures(self) -> tuple[str, ...]:
        """Failures of the trial itself, without those of its control."""
        return tuple(line for line in self.failures if line.startswith(f"confirm-{self.number}-seed-"))

    @property
    def num_diverged(self) -> int:
        """Number of seeds under which the student diverged. The gain leaves them out, so its estimate is optimistic."""
        return sum(_outcome_of(line) == Outcome.DIVERGED for line in self.own_failures)

    def verdict(self, gain: Gain) -> Verdict:
        """Return the verdict on a gain: unstable instead of a gain when the student diverges under some seeds."""
        is_unstable = gain.verdict is Verdict.GAIN and self.num_diverged > 0
        return Verdict.UNSTABLE if is_unstable else gain.verdict

    def describe(self, gain: Gain, *, num_seeds: int) -> str:
        """Describe a gain in one line, with the outcomes of the seeds that are missing in it.

        Args:
            gain: on either split.
            num_seeds: number of seeds that were asked for.

        Returns:
            Such as ``gain +2.0 AP [+1.0, +3.0], 3 of 5 seeds, 1 failed, 1 control diverged``.
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
    """The result of a confirmation.

    Attributes:
        metric: of the gains.
        seeds: all seeds that were asked for.
        candidates: the trials, best on the fresh seeds first.
        winner: number of the best one.
        test: gain of the winner on the test split, None where the experiment has none.
        previous_test_evaluations: number of other evaluations on the test split, for another trial, seeds or metric.
        best_seed: seed under which the winner's student scored best on the search split.
        weights: file of that student, relative to the study's folder.
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
        gain = self.best.search
        assert gain is not None
        return gain

    @property
    def gain(self) -> Gain:
        """The gain on the test split, or on the search split where there is no test split."""
        return self.search if self.test is None else self.test

    @property
    def verdict(self) -> Verdict:
        """The verdict on the final gain."""
        return self.best.verdict(self.gain)

    @property
    def summary(self) -> str:
        """The final gain in one line."""
        return self.best.describe(self.gain, num_seeds=len(self.seeds))

    @property
    def split(self) -> str:
        """The split of the final gain."""
        return "search" if self.test is None else "test"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, the inverse of ``from_dict``."""
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
        """Read the dictionary of ``to_dict``, also that of an earlier version.

        Raise ``KeyError``, ``TypeError`` or ``ValueError`` for anything else.
        """
        if "other_looks" in values:  # as earlier versions named it
            values = {**values, "previous_test_evaluations": values["other_looks"]}
            del values["other_looks"]
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
    """An evaluation on the test split.

    Attributes:
        trial: number of the trial whose students were scored; None for the teacher.
        seeds: of the students; none for the teacher.
        metric: None for all metrics, and where an earlier version did not record it.
    """

    trial: int | None
    seeds: tuple[int, ...]
    metric: str | None


def _outcome_of(failure: str) -> str:
    """Return the outcome in a line of ``Candidate.failures``: ``KEY: OUTCOME (REASON)``."""
    return failure.partition(": ")[2].partition(" (")[0]
