"""The result of an ablation: a trial against itself without one of its terms, for each term. Plain values."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any

from distune.evidence.gain import ERROR, MIN_IMAGES, Gain
from distune.evidence.gain_text import name_few_images
from distune.evidence.p_values import holm_adjusted, p_value

FEW_SEEDS = 5
"""With so few or fewer, the interval of an effect is wider than twice the spread between seeds."""


class TermVerdict(enum.StrEnum):
    """The conclusion about a term."""

    HELPS = "helps"  # without it the student is worse
    HARMS = "harms"  # without it the student is better
    NOT_SHOWN = "no effect shown"
    UNDECIDED = "undecided"  # one seed, very few images, or no run has finished without the term


@dataclasses.dataclass(frozen=True, kw_only=True)
class TermEffect:
    """The effect of one term.

    Attributes:
        term: its name.
        effect: the trial minus itself without the term, as a gain; None if no seed has both runs.
        adjusted_p: p value of no effect, adjusted for the number of terms by Holm; None with less than 2 seeds.
        failures: runs without the term that did not finish, a line each.
    """

    term: str
    effect: Gain | None
    adjusted_p: float | None = None
    failures: tuple[str, ...] = ()

    @property
    def verdict(self) -> TermVerdict:
        """The conclusion, from the adjusted p value; undecided with too few images, as that of a gain."""
        if self.effect is None or self.adjusted_p is None or self.effect.num_images < MIN_IMAGES:
            return TermVerdict.UNDECIDED
        if self.adjusted_p >= ERROR:
            return TermVerdict.NOT_SHOWN
        return TermVerdict.HELPS if self.effect.mean > 0 else TermVerdict.HARMS

    def describe(self) -> str:
        """Return the effect in a line, such as ``soft_labels helps: +1.8 AP [+0.9, +2.6], p 0.01``."""
        if self.effect is None:
            return f"{self.term}: {self.verdict}, since no run without it has finished"
        figures = f"{self.effect.mean:+.1f} {self.effect.metric}"
        if self.adjusted_p is None:
            return f"{self.term}: {self.verdict}, since one seed says nothing about the spread: {figures}"
        interval = f"[{self.effect.low:+.1f}, {self.effect.high:+.1f}]"
        if self.effect.num_images < MIN_IMAGES:
            return f"{self.term}: {self.verdict}, since {name_few_images(self.effect)}: {figures} {interval}"
        return (
            f"{self.term}: {self.verdict}: {figures} {interval}, {self.effect.num_seeds} seeds, p {self.adjusted_p:.2g}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblationResult:
    """The result of an ablation, on the search split.

    Attributes:
        metric: of the effects.
        trial: number of the trial.
        seeds: all seeds that were asked for.
        gain: the trial minus its control; None if no seed has both runs.
        terms: the effect of each term.
        simulated: nothing was trained.
    """

    metric: str
    trial: int
    seeds: tuple[int, ...]
    gain: Gain | None
    terms: tuple[TermEffect, ...]
    simulated: bool = False

    def lines(self) -> list[str]:
        """Return the result as text: the gain, each term, runs that did not finish, and the limits of the claim."""
        gain = "unknown" if self.gain is None else f"{self.gain.mean:+.1f} {self.metric}"
        seeds = f"{len(self.seeds)} seed{'s' * (len(self.seeds) > 1)}"
        lines = [f"ablation of trial {self.trial}, {seeds}, search split: gain of all terms together {gain}"]
        return [*lines, *(term.describe() for term in self.terms), *self.failures, *self.limits]

    @property
    def failures(self) -> tuple[str, ...]:
        """A line for each run without a term that did not finish."""
        return tuple(dict.fromkeys(line for term in self.terms for line in term.failures))

    @property
    def limits(self) -> tuple[str, ...]:
        """The limits of what the result says, a sentence each.

        Few seeds are those of the effect with the fewest. An effect of one seed is undecided and says so itself.
        """
        numbers = [each.effect.num_seeds for each in self.terms if each.effect is not None]
        fewest = min((number for number in numbers if number > 1), default=0)
        few = f"{fewest} seeds show large effects only: no effect shown does not mean that there is none"
        return (
            *([few] if 1 < fewest <= FEW_SEEDS else []),
            "the search split has chosen the trial, so the effects are a guide; distune confirm measures the gain",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary, the inverse of ``from_dict``."""
        return {
            **dataclasses.asdict(self),
            "seeds": list(self.seeds),
            "gain": None if self.gain is None else self.gain.to_dict(),
            "terms": [
                {
                    "term": each.term,
                    "effect": None if each.effect is None else each.effect.to_dict(),
                    "adjusted_p": each.adjusted_p,
                    "failures": list(each.failures),
                    "verdict": str(each.verdict),
                }
                for each in self.terms
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AblationResult:
        """Read the dictionary of ``to_dict``. Raise ``KeyError``, ``TypeError`` or ``ValueError`` for anything else."""
        terms = tuple(
            TermEffect(
                term=each["term"],
                effect=None if each["effect"] is None else Gain.from_dict(each["effect"]),
                adjusted_p=each["adjusted_p"],
                failures=tuple(each["failures"]),
            )
            for each in values["terms"]
        )
        gain = None if values["gain"] is None else Gain.from_dict(values["gain"])
        return cls(**{**values, "seeds": tuple(values["seeds"]), "gain": gain, "terms": terms})


def adjust(effects: Mapping[str, Gain | None], failures: Mapping[str, tuple[str, ...]]) -> tuple[TermEffect, ...]:
    """Return the effects of all terms, with p values adjusted for their number.

    Args:
        effects: term to the trial minus itself without the term; None if it is unknown.
        failures: term to its runs that did not finish, a line each.

    Returns:
        An effect for each term. A term with less than 2 seeds has no p value, but counts as one of the comparisons.
    """
    p_values = [1.0 if each is None or each.num_seeds < 2 else p_value(each) for each in effects.values()]
    return tuple(
        TermEffect(
            term=term,
            effect=effect,
            adjusted_p=None if effect is None or effect.num_seeds < 2 else adjusted,
            failures=failures[term],
        )
        for (term, effect), adjusted in zip(effects.items(), holm_adjusted(p_values), strict=True)
    )
