"""The result of a confirmation: candidates, their gains and the winner. Plain values."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from distune.evidence.gain import MIN_IMAGES, Gain, Verdict
from distune.evidence.gain_text import describe_gain
from distune.records import Outcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A trial of the search that was trained again on fresh seeds.

    Attributes:
        number: of the trial.
        control: name of its control.
        score: mean over its selection seeds and the search, on the search split, by which one of several trials was
            chosen; None where there was one, or no run has finished.
        num_selection_seeds: seeds in the score, without that of the search.
        search: gain of the chosen trial on the search split; None for the others.
        failures: runs of the trial, and of the control of the chosen one, that did not finish, a line each: ``KEY:
            OUTCOME (REASON)``.
    """

    number: int
    control: str
    score: float | None = None
    num_selection_seeds: int = 0
    search: Gain | None = None
    failures: tuple[str, ...] = ()

    @property
    def own_failures(self) -> tuple[str, ...]:
        """Failures of the trial itself, without those of its control."""
        return tuple(
            line
            for line in self.failures
            if line.startswith((f"confirm-{self.number}-seed-", f"confirm-{self.number}-teacher-"))
        )

    @property
    def num_diverged(self) -> int:
        """Number of seeds under which the student diverged. The gain leaves them out, so its estimate is optimistic."""
        return sum(_outcome_of(line) == Outcome.DIVERGED for line in self.own_failures)

    def verdict(self, gain: Gain, *, margin: float | None = None) -> Verdict:
        """Return the verdict on a gain.

        Args:
            gain: on either split.
            margin: gains below it do not matter; None where each matters.

        Returns:
            Unstable instead of a gain when the student diverges under some seeds.
        """
        verdict = gain.verdict
        if verdict is Verdict.GAIN and self.num_diverged > 0:
            return Verdict.UNSTABLE
        is_small = margin is not None and verdict is Verdict.NOT_SHOWN and gain.high < margin
        return Verdict.NO_RELEVANT_GAIN if is_small else verdict

    def describe(self, gain: Gain, *, num_seeds: int, margin: float | None = None) -> str:
        """Describe a gain in one line, with the outcomes of the seeds that are missing in it.

        Args:
            gain: on either split.
            num_seeds: number of seeds that were asked for.
            margin: gains below it do not matter; None where each matters.

        Returns:
            Such as ``gain +2.0 AP [+1.0, +3.0], 3 of 5 seeds, 1 failed, 1 control diverged``.
        """
        counts = Counter((line in self.own_failures, _outcome_of(line)) for line in self.failures)
        lost = "".join(
            f", {number} {outcome}" if is_own else f", {number} control{'s' * (number > 1)} {outcome}"
            for (is_own, outcome), number in counts.items()
        )
        seeds = None if gain.num_seeds == num_seeds else f"{gain.num_seeds} of {num_seeds} seeds{lost}"
        return describe_gain(gain, verdict=self.verdict(gain, margin=margin), seeds=seeds, margin=margin)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ConfirmationResult:
    """The result of a confirmation.

    Attributes:
        metric: of the gains.
        seeds: all seeds that were asked for.
        candidates: the trials, the chosen one first.
        winner: number of the first one.
        test: gain of the winner on the test split, None where the experiment has none.
        previous_test_evaluations: number of other evaluations on the test split, for another trial or metric.
        best_seed: seed under which the winner's student scored best on the search split.
        weights: file of that student, relative to the study's folder.
        selection_seeds: seeds that chose the winner; empty where there was one trial.
        num_analyses: intervals of this trial and metric so far, with this one.
        max_seeds: seeds were added until the question is decided, at most to this number; None where none were.
        margin: gains below it, in points, do not matter; None where no seeds were added.
    """

    metric: str
    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    winner: int
    test: Gain | None
    previous_test_evaluations: int
    best_seed: int
    weights: str
    selection_seeds: tuple[int, ...] = ()
    num_analyses: int = 1
    max_seeds: int | None = None
    margin: float | None = None

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
        return self.best.verdict(self.gain, margin=self.margin)

    @property
    def is_decided(self) -> bool:
        """True when more seeds would not change the verdict, as with too few images that count for the metric."""
        return self.gain.num_images < MIN_IMAGES or self.verdict in (
            Verdict.GAIN,
            Verdict.LOSS,
            Verdict.NO_RELEVANT_GAIN,
        )

    @property
    def summary(self) -> str:
        """The final gain in one line."""
        return self.best.describe(self.gain, num_seeds=len(self.seeds), margin=self.margin)

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
                score=each.get("score"),
                num_selection_seeds=int(each.get("num_selection_seeds", 0)),
                search=None if each["search"] is None else Gain.from_dict(each["search"]),
                failures=tuple(each["failures"]),
            )
            for each in values["candidates"]
        )
        test = None if values["test"] is None else Gain.from_dict(values["test"])
        values = {**values, "selection_seeds": tuple(values.get("selection_seeds", ()))}
        return cls(**{**values, "seeds": tuple(values["seeds"]), "candidates": candidates, "test": test})


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnalysisRecord:
    """An interval of the gain that was computed.

    Attributes:
        trial: number of the trial.
        metric: of the gain.
        split: ``test``, or ``search`` where there is no test split; with several teachers, their number as well.
        num_seeds: seeds in the interval.
        error: nominal error of the interval.
        plan: the first and the last number of seeds of a plan that it belongs to; None for a single one.
    """

    trial: int
    metric: str
    split: str
    num_seeds: int
    error: float
    plan: tuple[int, int] | None = None


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
