"""Early stopping in figures: do scores at a rung order the trials as their final scores do? Pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from distune.records import Outcome
from distune.reports.page.curve_values import score_at
from distune.reports.page.page_input import StudyFacts

MIN_TRIALS, FEW_TRIALS = 3, 10
"""With fewer, there is no rank correlation; with fewer than the second, nothing follows from it."""
_GOOD = 0.4
"""Kendall's tau from which a rung orders trials well: 70% of pairs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComparedTrial:
    """A trial that has done all epochs: its score at a rung, and the final one."""

    trial: str
    control: bool
    at_rung: float
    final: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rung:
    """An epoch at which trials are compared.

    Attributes:
        epoch: number of the epoch.
        reached: searched trials that have done it.
        stopped: searched trials that were stopped after it.
        compared: finished trials and controls.
        kendall: rank correlation (Kendall's tau) of their scores at the epoch and their final scores; None for fewer
            than ``MIN_TRIALS``, and where all scores are equal.
    """

    epoch: int
    reached: int
    stopped: int
    compared: Sequence[ComparedTrial]
    kendall: float | None

    @property
    def agreement(self) -> float:
        """The fraction of pairs of trials in the same order as at the end."""
        return (1 + (self.kendall or 0.0)) / 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Saving:
    """Epochs of the searched trials that have finished or were stopped."""

    trained: int
    without_stopping: int
    num_stopped: int

    @property
    def fraction(self) -> float:
        """The fraction of epochs that was saved."""
        return 1 - self.trained / self.without_stopping if self.without_stopping else 0.0


def compared_epochs(facts: StudyFacts) -> tuple[int, ...]:
    """Return the rungs; without any, a third and two thirds of the epochs, and those at which trials were stopped."""
    if facts.rungs:
        return facts.rungs
    stops = {trial.epochs for trial in facts.searched if trial.outcome is Outcome.STOPPED}
    thirds = {round(facts.num_epochs / 3), round(2 * facts.num_epochs / 3)}
    return tuple(sorted(epoch for epoch in stops | thirds if 0 < epoch < facts.num_epochs))


def compare_rungs(facts: StudyFacts) -> list[Rung]:
    """Return the trials at each compared epoch."""
    epochs = compared_epochs(facts)
    return [_rung(facts, epoch, upper) for epoch, upper in zip(epochs, (*epochs[1:], facts.num_epochs), strict=True)]


def saving(facts: StudyFacts) -> Saving:
    """Return the epochs that early stopping has saved against training all trials to the end."""
    ended = [trial for trial in facts.searched if trial.outcome in (Outcome.FINISHED, Outcome.STOPPED)]
    return Saving(
        trained=sum(trial.epochs for trial in ended),
        without_stopping=facts.num_epochs * len(ended),
        num_stopped=sum(trial.outcome is Outcome.STOPPED for trial in ended),
    )


def conclusion(rungs: Sequence[Rung]) -> str:
    """Return in a sentence how well the first rung with a correlation orders the trials, with their number."""
    rung = next((rung for rung in rungs if rung.kendall is not None), None)
    if rung is None or rung.kendall is None:
        return f"A rank correlation needs at least {MIN_TRIALS} finished trials and controls."
    pairs = f"At epoch {rung.epoch}, {rung.agreement:.0%} of pairs of trials are in the same order as at the end"
    if len(rung.compared) < FEW_TRIALS:
        return f"{pairs}, but of {len(rung.compared)} trials only: too few to conclude anything."
    if rung.kendall >= _GOOD:
        return f"{pairs} (50% would be chance): stopping by it is sound."
    return (
        f"{pairs} (50% would be chance): stopping by it is risky; with a larger "
        "search.scheduler.grace_epochs trials are compared later."
    )


def _rung(facts: StudyFacts, epoch: int, upper: int) -> Rung:
    reached = [trial for trial in facts.searched if trial.epochs >= epoch]
    stopped = [trial for trial in reached if trial.outcome is Outcome.STOPPED and trial.epochs < upper]
    compared = []
    for trial in facts.trials:
        at_rung, final = score_at(facts, trial, epoch), facts.score(trial)
        if trial.outcome is Outcome.FINISHED and at_rung is not None and final is not None:
            compared.append(ComparedTrial(trial=trial.key, control=trial.control, at_rung=at_rung, final=final))
    return Rung(epoch=epoch, reached=len(reached), stopped=len(stopped), compared=compared, kendall=_kendall(compared))


def _kendall(compared: Sequence[ComparedTrial]) -> float | None:
    at_rung, final = ([getattr(each, name) for each in compared] for name in ("at_rung", "final"))
    if len(compared) < MIN_TRIALS or len(set(at_rung)) == 1 or len(set(final)) == 1:
        return None
    from scipy.stats import kendalltau

    return float(kendalltau(at_rung, final).statistic)
